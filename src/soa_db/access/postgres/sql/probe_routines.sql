-- Which functions and procedures the current user may execute, extensions' left out.
SELECT n.nspname AS schema,
       p.proname AS name,
       p.proname || '(' || pg_get_function_identity_arguments(p.oid) || ')' AS signature,
       has_function_privilege(p.oid, 'EXECUTE') AS held
  FROM pg_proc p
  JOIN pg_namespace n ON n.oid = p.pronamespace
 WHERE n.nspname <> 'information_schema'
   AND n.nspname !~ '^pg_'
   AND p.prorettype NOT IN ('trigger'::regtype, 'event_trigger'::regtype)
   AND NOT EXISTS (SELECT FROM pg_depend d
                    WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e')
 ORDER BY 1, 3
