-- Columns with an ACL of their own, and those the specs name.
SELECT n.nspname::text, c.relname::text, t.attname::text, pg_get_userbyid(c.relowner)::text,
       (SELECT jsonb_agg(jsonb_build_array(
                   CASE a.grantee WHEN 0 THEN 'public' ELSE pg_get_userbyid(a.grantee) END,
                   a.privilege_type, pg_get_userbyid(a.grantor), a.is_grantable))
          FROM aclexplode(t.attacl) AS a)
  FROM pg_attribute AS t
  JOIN pg_class AS c ON c.oid = t.attrelid
  JOIN pg_namespace AS n ON n.oid = c.relnamespace
 WHERE t.attnum > 0 AND NOT t.attisdropped
   AND (t.attacl IS NOT NULL OR t.attname = ANY(%(columns)s))
   AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
   AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
 ORDER BY 1, 2, 3
