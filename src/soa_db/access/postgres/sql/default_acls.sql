SELECT pg_get_userbyid(d.defaclrole)::text, n.nspname::text,
       CASE d.defaclobjtype WHEN 'r' THEN 'table' WHEN 'S' THEN 'sequence' WHEN 'f' THEN 'routine' WHEN 'T' THEN 'type'
                            ELSE 'schema' END,
       (SELECT jsonb_agg(jsonb_build_array(
                   CASE a.grantee WHEN 0 THEN 'public' ELSE pg_get_userbyid(a.grantee) END,
                   a.privilege_type, pg_get_userbyid(a.grantor), a.is_grantable))
          FROM aclexplode(d.defaclacl) AS a)
  FROM pg_default_acl AS d
  LEFT JOIN pg_namespace AS n ON n.oid = d.defaclnamespace
 WHERE d.defaclobjtype IN ('r', 'S', 'f', 'T', 'n')
