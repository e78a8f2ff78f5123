-- Every membership, once per grantor's options.
SELECT m.rolname AS member,
       r.rolname AS role,
       a.admin_option AS admin,
       a.inherit_option AS inherit,
       a.set_option AS set
  FROM pg_auth_members a
  JOIN pg_roles r ON r.oid = a.roleid
  JOIN pg_roles m ON m.oid = a.member
 ORDER BY 1, 2, 3, 4, 5
