-- pg_authid is not readable on RDS; pg_roles shows all but the password.
SELECT r.rolname::text, r.rolcanlogin, r.rolinherit, r.rolsuper, r.rolcreatedb, r.rolcreaterole, r.rolreplication,
       r.rolbypassrls, r.rolconnlimit,
       r.rolvaliduntil IS NOT NULL AND r.rolvaliduntil <> 'infinity',
       d.description
  FROM pg_roles AS r
  LEFT JOIN pg_shdescription AS d ON d.objoid = r.oid AND d.classoid = 'pg_authid'::regclass
