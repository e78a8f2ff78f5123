-- Every role of the server with what sets it apart. pg_authid is not readable on RDS; pg_roles is.
SELECT r.rolname AS name,
       r.oid < 16384 AND r.rolname ~ '^pg_' AS predefined,
       r.rolsuper AS superuser,
       r.rolcreaterole AS createrole,
       r.rolcreatedb AS createdb,
       r.rolreplication AS replication,
       r.rolbypassrls AS bypassrls,
       r.rolcanlogin AS can_login,
       r.rolinherit AS inherits,
       r.rolvaliduntil < now() AS expired,
       shobj_description(r.oid, 'pg_authid') AS comment
  FROM pg_roles r
 ORDER BY 1
