-- Where something depends on the given roles (owned objects, privileges, policies), and who owns those objects: as whom
-- one must act to take privileges away. A database of NULL: shared objects. An owner of NULL: the bootstrap superuser,
-- whose ownership is not recorded (src/backend/catalog/pg_shdepend.c, "pinned"). Memberships the role granted (recorded
-- since 16) are its own to take back. Last, whether it owns something there that lasts: default privileges go with it.
SELECT r.rolname::text, d.datname::text,
       array_agg(DISTINCT CASE WHEN s.deptype = 'o' OR s.classid = 'pg_auth_members'::regclass
                               THEN r.rolname ELSE w.rolname END::text),
       bool_or(s.deptype = 'o' AND s.classid NOT IN ('pg_auth_members'::regclass, 'pg_default_acl'::regclass))
  FROM pg_shdepend AS s
  JOIN pg_roles AS r ON r.oid = s.refobjid
  LEFT JOIN pg_database AS d ON d.oid = s.dbid
  LEFT JOIN pg_shdepend AS o
         ON (o.dbid, o.classid, o.objid, o.objsubid, o.deptype) = (s.dbid, s.classid, s.objid, 0, 'o')
        AND o.refclassid = 'pg_authid'::regclass
  LEFT JOIN pg_roles AS w ON w.oid = o.refobjid
 WHERE s.refclassid = 'pg_authid'::regclass
   AND r.rolname = ANY(%(roles)s)
 GROUP BY 1, 2
