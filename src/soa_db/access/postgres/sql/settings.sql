-- Only names: a value may be anything. Who may reset one: validate_option_array_item in src/backend/utils/misc/guc.c.
SELECT r.rolname::text, d.datname::text, s.name,
       coalesce(p.context = 'user', false) OR has_parameter_privilege(s.name, 'SET')
  FROM pg_db_role_setting AS x
  JOIN pg_roles AS r ON r.oid = x.setrole
  LEFT JOIN pg_database AS d ON d.oid = x.setdatabase
 CROSS JOIN LATERAL (SELECT split_part(entry, '=', 1) AS name FROM unnest(x.setconfig) AS entry) AS s
  LEFT JOIN pg_settings AS p ON p.name = s.name
 ORDER BY 1, 2, 3
