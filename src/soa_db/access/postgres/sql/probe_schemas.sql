-- What the current user may do with every schema that is not the system's.
SELECT nspname AS schema,
       ARRAY(SELECT p FROM unnest(ARRAY['USAGE', 'CREATE']) AS p WHERE has_schema_privilege(oid, p)) AS held
  FROM pg_namespace
 WHERE nspname <> 'information_schema' AND nspname !~ '^pg_'
 ORDER BY 1
