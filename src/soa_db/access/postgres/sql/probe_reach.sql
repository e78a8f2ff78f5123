-- Rights of the current user on what no spec speaks of: foreign data wrappers and servers, large objects, tablespaces, and
-- the system's relations (pg_authid holds password hashes) where PUBLIC had no right when the server was installed. What PUBLIC may do with servers and wrappers stands in the ACLs (probe_acl).
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
 WHERE has_tablespace_privilege(oid, 'CREATE') AND NOT pg_has_role(spcowner, 'USAGE')
UNION ALL
SELECT DISTINCT 'TABLE', n.nspname || '.' || c.relname, 'SELECT'
  FROM pg_class c
  JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspname = 'pg_catalog'
  JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
 WHERE c.relkind IN ('r', 'v')
   AND c.oid < 16384
   AND has_any_column_privilege(c.oid, 'SELECT')
   AND has_column_privilege(c.oid, a.attnum, 'SELECT')
   AND NOT EXISTS (SELECT FROM pg_init_privs i CROSS JOIN LATERAL aclexplode(i.initprivs) AS x
                    WHERE i.classoid = 'pg_class'::regclass AND i.objoid = c.oid AND i.objsubid IN (0, a.attnum)
                      AND x.grantee = 0 AND x.privilege_type = 'SELECT')
 ORDER BY 1, 2, 3
