-- Settings attached to roles and databases. An empty role stands for all roles, an empty database for all databases.
SELECT coalesce(r.rolname, '') AS role,
       coalesce(d.datname, '') AS database,
       split_part(setting, '=', 1) AS name
  FROM pg_db_role_setting s
  LEFT JOIN pg_roles r ON r.oid = s.setrole
  LEFT JOIN pg_database d ON d.oid = s.setdatabase
 CROSS JOIN LATERAL unnest(s.setconfig) AS setting
 ORDER BY 1, 2, 3
