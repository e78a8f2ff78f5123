-- Functions of the system and of extensions that were kept from PUBLIC when they were installed (pg_init_privs) and that
-- the current user may execute now, by a grant to it, a membership, or because PUBLIC was given it.
SELECT p.oid::regprocedure::text AS signature, n.nspname AS schema, p.proname AS name
  FROM pg_proc p
  JOIN pg_namespace n ON n.oid = p.pronamespace
 WHERE has_function_privilege(p.oid, 'EXECUTE')
   AND (p.oid < 16384 OR NOT pg_has_role(p.proowner, 'USAGE'))
   AND ((n.nspname = 'pg_catalog' AND p.proacl IS NOT NULL AND NOT has_function_privilege('public', p.oid, 'EXECUTE'))
        OR (EXISTS (SELECT FROM pg_init_privs i WHERE i.classoid = 'pg_proc'::regclass AND i.objoid = p.oid)
            AND NOT EXISTS (SELECT FROM pg_init_privs i CROSS JOIN LATERAL aclexplode(i.initprivs) AS x
                             WHERE i.classoid = 'pg_proc'::regclass AND i.objoid = p.oid AND x.grantee = 0)))
 ORDER BY 1
