-- inherit_option and set_option came with 16: through jsonb one query serves every version.
SELECT r.rolname::text, m.rolname::text, coalesce(g.rolname::text, ''), a.admin_option,
       coalesce((to_jsonb(a) ->> 'inherit_option')::bool, true),
       coalesce((to_jsonb(a) ->> 'set_option')::bool, true)
  FROM pg_auth_members AS a
  JOIN pg_roles AS r ON r.oid = a.roleid
  JOIN pg_roles AS m ON m.oid = a.member
  LEFT JOIN pg_roles AS g ON g.oid = a.grantor
