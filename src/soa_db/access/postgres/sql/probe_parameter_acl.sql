-- Rights to SET or ALTER SYSTEM single parameters (PostgreSQL 15 and later).
SELECT p.parname AS name,
       CASE WHEN x.grantee = 0 THEN 'PUBLIC' ELSE pg_get_userbyid(x.grantee) END AS grantee,
       x.privilege_type AS privilege
  FROM pg_parameter_acl p
 CROSS JOIN LATERAL aclexplode(p.paracl) AS x
 WHERE x.grantee <> 10
 ORDER BY 1, 2, 3
