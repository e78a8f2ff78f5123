-- What the current user may do with every schema that is not the system's. An extension's script says who may use its own.
SELECT nspname AS schema,
       ARRAY(SELECT p FROM unnest(ARRAY['USAGE', 'CREATE']) AS p WHERE has_schema_privilege(n.oid, p)) AS held,
       EXISTS (SELECT FROM pg_depend d
                WHERE d.classid = 'pg_namespace'::regclass AND d.objid = n.oid AND d.deptype = 'e') AS of_extension
  FROM pg_namespace n
 WHERE nspname <> 'information_schema'
   AND nspname !~ '^pg_'
 ORDER BY 1
