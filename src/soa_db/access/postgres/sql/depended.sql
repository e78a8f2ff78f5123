-- Where something depends on the given roles: owned objects, privileges, policies. NULL: on shared objects.
SELECT r.rolname::text, array_agg(DISTINCT d.datname::text)
  FROM pg_shdepend AS s
  JOIN pg_roles AS r ON r.oid = s.refobjid
  LEFT JOIN pg_database AS d ON d.oid = s.dbid
 WHERE s.refclassid = 'pg_authid'::regclass
   AND r.rolname = ANY(%(roles)s)
   -- Memberships (16+) go with the role.
   AND s.classid <> 'pg_auth_members'::regclass
   -- A default privilege, a setting and the like of the role go with DROP OWNED.
 GROUP BY 1
