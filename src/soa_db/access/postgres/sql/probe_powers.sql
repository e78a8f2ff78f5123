-- Functions of the system that PUBLIC may not execute and the current user may: reading the server's files,
-- reloading its configuration, switching its WAL.
SELECT p.oid::regprocedure::text AS signature
  FROM pg_proc p
 WHERE p.pronamespace = 'pg_catalog'::regnamespace
   AND p.proacl IS NOT NULL
   AND NOT has_function_privilege('public', p.oid, 'EXECUTE')
   AND has_function_privilege(p.oid, 'EXECUTE')
 ORDER BY 1
