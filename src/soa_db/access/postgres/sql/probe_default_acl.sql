-- What roles have asked to be granted on objects they make later (ALTER DEFAULT PRIVILEGES), without what an object of the
-- kind has anyway: EXECUTE of routines and USAGE of types for PUBLIC.
SELECT pg_get_userbyid(a.defaclrole) AS role,
       coalesce(n.nspname, '') AS schema,
       CASE a.defaclobjtype WHEN 'r' THEN 'table' WHEN 'S' THEN 'sequence' WHEN 'f' THEN 'routine' WHEN 'T' THEN 'type'
                            WHEN 'n' THEN 'schema' ELSE 'large object' END AS kind,
       CASE WHEN x.grantee = 0 THEN 'PUBLIC' ELSE pg_get_userbyid(x.grantee) END AS grantee,
       x.privilege_type AS privilege
  FROM pg_default_acl a
  LEFT JOIN pg_namespace n ON n.oid = a.defaclnamespace
 CROSS JOIN LATERAL aclexplode(a.defaclacl) AS x
 WHERE x.grantee <> a.defaclrole
   AND NOT (x.grantee = 0 AND a.defaclobjtype IN ('f', 'T') AND a.defaclnamespace = 0)
 ORDER BY 1, 2, 3, 4, 5
