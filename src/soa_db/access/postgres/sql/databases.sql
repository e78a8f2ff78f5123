-- datconnlimit = -2 marks a database that an interrupted DROP DATABASE left invalid.
WITH used AS (
    SELECT datname AS name, usename AS role
      FROM pg_stat_activity
     WHERE backend_type = 'client backend' AND datname IS NOT NULL AND usename IS NOT NULL
     UNION
    SELECT d.datname, pg_get_userbyid(s.refobjid)
      FROM pg_shdepend AS s
      JOIN pg_database AS d ON d.oid = s.dbid AND s.refobjid <> d.datdba
     WHERE s.refclassid = 'pg_authid'::regclass AND s.deptype IN ('o', 'a')
)
SELECT d.datname::text, pg_get_userbyid(d.datdba)::text,
       (SELECT jsonb_agg(jsonb_build_array(
                   CASE a.grantee WHEN 0 THEN 'public' ELSE pg_get_userbyid(a.grantee) END,
                   a.privilege_type, pg_get_userbyid(a.grantor), a.is_grantable))
          FROM aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) AS a),
       d.datallowconn AND d.datconnlimit <> -2,
       has_database_privilege(d.oid, 'CONNECT'),
       ARRAY(SELECT role::text FROM used WHERE used.name = d.datname),
       d.datistemplate
  FROM pg_database AS d
 -- A service's database stays one when somebody makes it a template.
 WHERE d.datname NOT IN ('template0', 'template1')
