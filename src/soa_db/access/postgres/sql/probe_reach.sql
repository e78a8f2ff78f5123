-- Rights of the current user on what no spec speaks of: foreign data wrappers and servers, large objects, tablespaces, and
-- the system's relations and schemas (pg_authid holds password hashes) where PUBLIC had no right when the server was
-- installed. What PUBLIC may do with servers and wrappers stands in the ACLs (probe_acl).
SELECT 'FOREIGN DATA WRAPPER' AS kind, quote_ident(fdwname) AS name, 'USAGE' AS privilege
  FROM pg_foreign_data_wrapper
 WHERE has_foreign_data_wrapper_privilege(oid, 'USAGE')
   AND NOT has_foreign_data_wrapper_privilege('public', oid, 'USAGE') AND NOT pg_has_role(fdwowner, 'USAGE')
UNION ALL
SELECT 'FOREIGN SERVER', quote_ident(srvname), 'USAGE'
  FROM pg_foreign_server
 WHERE has_server_privilege(oid, 'USAGE') AND NOT has_server_privilege('public', oid, 'USAGE')
   AND NOT pg_has_role(srvowner, 'USAGE')
UNION ALL
SELECT 'LARGE OBJECT', l.oid::text, x.privilege_type
  FROM pg_largeobject_metadata l CROSS JOIN LATERAL aclexplode(l.lomacl) AS x
 WHERE x.grantee <> 0 AND pg_has_role(x.grantee, 'USAGE') AND NOT pg_has_role(l.lomowner, 'USAGE')
UNION ALL
SELECT 'TABLESPACE', quote_ident(spcname), 'CREATE'
  FROM pg_tablespace
 WHERE has_tablespace_privilege(oid, 'CREATE')
UNION ALL
SELECT 'SCHEMA', n.nspname, p
  FROM pg_namespace n CROSS JOIN unnest(ARRAY['USAGE', 'CREATE']) AS p
 WHERE n.oid < 16384 AND n.nspname <> 'public' AND has_schema_privilege(n.oid, p)
   AND (n.nspname, p) <> ('information_schema', 'USAGE')
   AND NOT EXISTS (SELECT FROM pg_init_privs i CROSS JOIN LATERAL aclexplode(i.initprivs) AS x
                    WHERE i.classoid = 'pg_namespace'::regclass AND i.objoid = n.oid
                      AND x.grantee = 0 AND x.privilege_type = p)
UNION ALL
-- What a table's TOAST table holds is the table's; nobody has rights there but by a GRANT.
SELECT 'TABLE', n.nspname || '.' || c.relname, 'SELECT'
  FROM pg_class c
  JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relkind = 't' AND c.relacl IS NOT NULL AND has_any_column_privilege(c.oid, 'SELECT')
   AND NOT pg_has_role(c.relowner, 'USAGE')
UNION ALL
SELECT DISTINCT 'TABLE', n.nspname || '.' || c.relname, p
  FROM pg_class c
  JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspname IN ('pg_catalog', 'information_schema')
  JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
 CROSS JOIN unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE']) AS p
 WHERE c.relkind IN ('r', 'v')
   AND c.oid < 16384
   -- initdb keeps no record of the information schema, where everybody reads all but its inner views.
   AND (n.nspname <> 'information_schema' OR p <> 'SELECT' OR c.relname ~ '^_pg_')
   AND CASE WHEN p IN ('DELETE', 'TRUNCATE') THEN has_table_privilege(c.oid, p)
            ELSE has_any_column_privilege(c.oid, p) AND has_column_privilege(c.oid, a.attnum, p) END
   AND NOT EXISTS (SELECT FROM pg_init_privs i CROSS JOIN LATERAL aclexplode(i.initprivs) AS x
                    WHERE i.classoid = 'pg_class'::regclass AND i.objoid = c.oid AND i.objsubid IN (0, a.attnum)
                      AND x.grantee = 0 AND x.privilege_type = p)
 ORDER BY 1, 2, 3
