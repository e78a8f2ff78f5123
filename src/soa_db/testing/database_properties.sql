-- Statements that give a copy of a database what CREATE DATABASE … TEMPLATE does not copy: the privileges on the
-- database itself and its settings. Settings that are lists are stored quoted as they must be written (pg_dump,
-- variable_is_guc_list_quote).
SELECT statement
FROM (
    SELECT 0 AS place, format('REVOKE ALL ON DATABASE %%I FROM PUBLIC', datname) AS statement
    FROM pg_database WHERE datname = %(database)s
    UNION ALL
    SELECT 1, format('GRANT %%s ON DATABASE %%I TO %%s%%s', acl.privilege_type, datname,
                     CASE acl.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(acl.grantee)) END,
                     CASE WHEN acl.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END)
    FROM pg_database CROSS JOIN aclexplode(coalesce(datacl, acldefault('d', datdba))) AS acl
    WHERE datname = %(database)s AND acl.grantee <> datdba
    UNION ALL
    SELECT 2, format('ALTER %%s SET %%I TO %%s',
                     CASE setrole WHEN 0 THEN format('DATABASE %%I', datname)
                                  ELSE format('ROLE %%I IN DATABASE %%I', pg_get_userbyid(setrole), datname) END,
                     split_part(setting, '=', 1),
                     CASE WHEN split_part(setting, '=', 1) IN ('search_path', 'temp_tablespaces',
                               'session_preload_libraries', 'local_preload_libraries')
                          THEN substr(setting, strpos(setting, '=') + 1)
                          ELSE quote_literal(substr(setting, strpos(setting, '=') + 1)) END)
    FROM pg_db_role_setting
    JOIN pg_database ON pg_database.oid = setdatabase
    CROSS JOIN unnest(setconfig) AS setting
    WHERE datname = %(database)s
) AS statements
ORDER BY place
