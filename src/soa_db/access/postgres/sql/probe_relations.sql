-- What the current user may really do with every relation: memberships, PUBLIC and predefined roles counted in.
-- Whatever is not the server's own counts, in the system's schemas too. Of an extension's relation it is also told which
-- rights the user had when the extension was installed (pg_init_privs).
SELECT n.nspname AS schema,
       c.relname AS name,
       c.relkind::text AS kind,
       (SELECT a.attname
          FROM pg_attribute a
         WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
         ORDER BY a.attnum
         LIMIT 1) AS first_column,
       CASE WHEN c.relkind = 'S'
            THEN ARRAY(SELECT p
                         FROM unnest(ARRAY['SELECT', 'USAGE', 'UPDATE']) AS p
                        WHERE has_sequence_privilege(c.oid, p))
            ELSE ARRAY(SELECT p
                         FROM unnest(%(privileges)s::text[]) AS p
                        WHERE has_table_privilege(c.oid, p))
        END AS held,
       -- A sequence that an identity column or an extension depends on is used with nobody's rights.
       EXISTS (SELECT FROM pg_depend d
                WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'i'
                  AND c.relkind = 'S') AS internal,
       e.objid IS NOT NULL AS of_extension,
       ARRAY(SELECT DISTINCT x.privilege_type::text
               FROM pg_init_privs i CROSS JOIN LATERAL aclexplode(i.initprivs) AS x
              WHERE e.objid IS NOT NULL AND i.classoid = 'pg_class'::regclass AND i.objoid = c.oid AND i.objsubid = 0
                AND (x.grantee = 0 OR EXISTS (SELECT FROM pg_roles r
                                               WHERE r.oid = x.grantee AND pg_has_role(r.oid, 'USAGE')))) AS initial
  FROM pg_class c
  JOIN pg_namespace n ON n.oid = c.relnamespace
  LEFT JOIN pg_depend e ON e.classid = 'pg_class'::regclass AND e.objid = c.oid AND e.objsubid = 0 AND e.deptype = 'e'
 WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
   AND c.oid >= 16384
   AND n.nspname !~ '^pg_(toast|temp)'
 ORDER BY 1, 2
