-- Who we are. pg_has_role(…, 'SET') exists from 16 on; before, a member may always SET ROLE.
SELECT current_user::text,
       current_setting('server_version_num')::int / 10000,
       me.rolsuper, me.rolcreatedb, me.rolcreaterole, me.rolreplication, me.rolbypassrls,
       coalesce((SELECT pg_has_role(oid, 'MEMBER') FROM pg_roles WHERE rolname = 'rds_iam'), false),
       ARRAY(SELECT rolname::text FROM pg_roles WHERE pg_has_role(oid, 'MEMBER WITH ADMIN OPTION')),
       ARRAY(SELECT rolname::text FROM pg_roles
              WHERE pg_has_role(oid, 'USAGE')
                AND pg_has_role(oid, CASE WHEN current_setting('server_version_num')::int >= 160000
                                          THEN 'SET' ELSE 'MEMBER' END))
  FROM pg_roles AS me
 WHERE me.rolname = current_user
