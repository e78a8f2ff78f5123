-- What else roles own here: publications, operators, foreign servers and whatever kind of object there may be, and what is
-- the system's or an extension's. Relations, routines, types and schemas of users' making are judged by themselves
-- (probe_owners); who makes a large object owns it, and everybody may make one. What a superuser has owned since initdb
-- has no line here.
SELECT pg_get_userbyid(s.refobjid) AS owner,
       s.objid < 16384 AS of_system,
       array_agg(pg_describe_object(s.classid, s.objid, s.objsubid) ORDER BY s.classid, s.objid) AS names
  FROM pg_shdepend s
 WHERE s.deptype = 'o'
   AND s.refclassid = 'pg_authid'::regclass
   AND (s.dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
        OR EXISTS (SELECT FROM pg_subscription u
                    WHERE s.classid = 'pg_subscription'::regclass AND u.oid = s.objid
                      AND u.subdbid = (SELECT oid FROM pg_database WHERE datname = current_database())))
   AND s.classid NOT IN ('pg_default_acl'::regclass, 'pg_user_mapping'::regclass, 'pg_largeobject'::regclass)
   AND NOT (s.classid = 'pg_namespace'::regclass AND s.objid < 16384
            AND s.objid = (SELECT oid FROM pg_namespace WHERE nspname = 'public'))
   AND (s.objid < 16384
        OR s.classid NOT IN ('pg_class'::regclass, 'pg_proc'::regclass, 'pg_type'::regclass, 'pg_namespace'::regclass)
        OR EXISTS (SELECT FROM pg_depend d WHERE d.classid = s.classid AND d.objid = s.objid AND d.deptype = 'e'))
 GROUP BY 1, 2
 ORDER BY 1, 2
