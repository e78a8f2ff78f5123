-- Views that write with their owner's rights where a user may write the view and none of what lies underneath.
-- pg_relation_is_updatable: a bit per command (4 UPDATE, 8 INSERT, 16 DELETE), triggers left out (utils/adt/misc.c).
WITH underneath AS (
    SELECT DISTINCT w.ev_class AS view, d.refobjid AS base
      FROM pg_rewrite w
      JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = w.oid
                      AND d.refclassid = 'pg_class'::regclass AND d.refobjid <> w.ev_class
)
SELECT r.rolname AS "user",
       n.nspname AS schema,
       v.relname AS name,
       p.privilege,
       array_agg(b.oid::regclass::text ORDER BY 1) AS bases
  FROM pg_class v
  JOIN pg_namespace n ON n.oid = v.relnamespace
  JOIN underneath u ON u.view = v.oid
  JOIN pg_class b ON b.oid = u.base AND b.relkind IN ('r', 'p', 'v', 'f')
 CROSS JOIN (VALUES ('UPDATE', 4), ('INSERT', 8), ('DELETE', 16)) AS p (privilege, bit)
  JOIN pg_roles r ON r.rolname = ANY (%(users)s::text[]) AND r.oid <> v.relowner
 WHERE v.relkind = 'v'
   AND n.nspname <> 'information_schema'
   AND n.nspname !~ '^pg_'
   AND NOT EXISTS (SELECT FROM unnest(v.reloptions) AS o
                    WHERE o IN ('security_invoker=true', 'security_invoker=on',
                                'security_invoker=1', 'security_invoker=yes'))
   AND NOT EXISTS (SELECT FROM pg_depend d
                    WHERE d.classid = 'pg_class'::regclass AND d.objid = v.oid AND d.deptype = 'e')
   AND pg_relation_is_updatable(v.oid, false) & p.bit > 0
   AND (has_table_privilege(r.oid, v.oid, p.privilege)
        OR (p.privilege <> 'DELETE' AND has_any_column_privilege(r.oid, v.oid, p.privilege)))
 GROUP BY 1, 2, 3, 4
HAVING NOT bool_or(has_table_privilege(r.oid, b.oid, p.privilege)
                   OR (p.privilege <> 'DELETE' AND has_any_column_privilege(r.oid, b.oid, p.privilege)))
 ORDER BY 1, 2, 3, 4
