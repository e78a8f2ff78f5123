-- Every database one can connect to, its owner, whether it is a template, and each right on it.
SELECT d.datname AS name,
       pg_get_userbyid(d.datdba) AS owner,
       d.datistemplate AS template,
       CASE WHEN x.grantee = 0 THEN 'PUBLIC' ELSE pg_get_userbyid(x.grantee) END AS grantee,
       x.privilege_type AS privilege,
       x.is_grantable AS grantable
  FROM pg_database d
  LEFT JOIN LATERAL aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) AS x ON true
 WHERE d.datallowconn
 ORDER BY 1, 3, 4
