-- Functions that run with their owner's rights, and who of the users given (and PUBLIC) may call them.
-- A trigger function cannot be called, whatever its ACL says.
SELECT n.nspname AS schema,
       p.proname AS name,
       quote_ident(n.nspname) || '.' || quote_ident(p.proname)
       || '(' || pg_get_function_identity_arguments(p.oid) || ')' AS signature,
       pg_get_userbyid(p.proowner) AS owner,
       EXISTS (SELECT FROM unnest(p.proconfig) AS setting WHERE setting ~ '^search_path=') AS fixed_path,
       has_function_privilege('public', p.oid, 'EXECUTE') AS public,
       ARRAY(SELECT r.rolname::text
               FROM pg_roles r
              WHERE r.rolname = ANY (%(users)s::text[])
                AND r.oid <> p.proowner
                AND has_function_privilege(r.oid, p.oid, 'EXECUTE')
              ORDER BY 1) AS callers
  FROM pg_proc p
  JOIN pg_namespace n ON n.oid = p.pronamespace
 WHERE p.prosecdef
   AND p.oid >= 16384
   AND p.prorettype NOT IN ('trigger'::regtype, 'event_trigger'::regtype)
   AND NOT EXISTS (SELECT FROM pg_depend d
                    WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e')
 ORDER BY 1, 3
