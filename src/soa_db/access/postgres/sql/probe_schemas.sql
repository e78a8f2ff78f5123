-- What the current user may do with every schema that is not the system's or an extension's.
SELECT nspname AS schema,
       ARRAY(SELECT p FROM unnest(ARRAY['USAGE', 'CREATE']) AS p WHERE has_schema_privilege(oid, p)) AS held
  FROM pg_namespace n
 WHERE nspname <> 'information_schema'
   AND nspname !~ '^pg_'
   AND NOT EXISTS (SELECT FROM pg_depend d
                    WHERE d.classid = 'pg_namespace'::regclass AND d.objid = n.oid AND d.deptype = 'e')
 ORDER BY 1
