-- Every membership; before PostgreSQL 16 each one can be inherited and SET.
SELECT m.rolname AS member,
       r.rolname AS role,
       a.admin_option AS admin,
       m.rolinherit AS inherit,
       true AS set
  FROM pg_auth_members a
  JOIN pg_roles r ON r.oid = a.roleid
  JOIN pg_roles m ON m.oid = a.member
 ORDER BY 1, 2
