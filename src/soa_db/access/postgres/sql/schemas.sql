SELECT n.nspname::text, pg_get_userbyid(n.nspowner)::text,
       (SELECT jsonb_agg(jsonb_build_array(
                   CASE a.grantee WHEN 0 THEN 'public' ELSE pg_get_userbyid(a.grantee) END,
                   a.privilege_type, pg_get_userbyid(a.grantor), a.is_grantable))
          FROM aclexplode(coalesce(n.nspacl, acldefault('n', n.nspowner))) AS a)
  FROM pg_namespace AS n
 WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
   AND NOT EXISTS (SELECT FROM pg_depend AS e
                    WHERE e.classid = 'pg_namespace'::regclass AND e.objid = n.oid AND e.deptype = 'e')
 ORDER BY 1
