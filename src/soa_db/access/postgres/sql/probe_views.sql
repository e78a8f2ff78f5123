-- Views (read with their owner's rights, unless security_invoker) and materialized views that show a user something it
-- may not read itself. One row per user, view and relation underneath.
WITH readers AS (
    SELECT u.name, r.oid
      FROM unnest(%(users)s::text[]) AS u (name)
      JOIN pg_roles r ON r.rolname = u.name
),
underneath AS (
    SELECT DISTINCT w.ev_class AS view, d.refobjid AS base, d.refobjsubid AS attnum
      FROM pg_rewrite w
      JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = w.oid
                      AND d.refclassid = 'pg_class'::regclass AND d.refobjid <> w.ev_class
    UNION
    -- No dependency on the system's own relations is kept; the query tree has them (see probe_indirect_writes).
    SELECT w.ev_class, (x.m)[1]::oid, 0
      FROM pg_rewrite w
     CROSS JOIN LATERAL regexp_matches(w.ev_action::text, ':relid (\d+) [^{}]*:requiredPerms 2', 'g') AS x (m)
     WHERE w.ev_class >= 16384 AND (x.m)[1]::oid < 16384
)
SELECT readers.name AS "user",
       vn.nspname AS schema,
       v.relname AS name,
       v.relkind::text AS kind,
       array_agg(DISTINCT quote_ident(bn.nspname) || '.' || quote_ident(b.relname)) AS bases
  FROM pg_class v
  JOIN pg_namespace vn ON vn.oid = v.relnamespace
  JOIN underneath u ON u.view = v.oid
  JOIN pg_class b ON b.oid = u.base AND b.relkind IN ('r', 'p', 'v', 'm', 'f')
  JOIN pg_namespace bn ON bn.oid = b.relnamespace
 CROSS JOIN readers
 WHERE v.relkind IN ('v', 'm')
   AND v.oid >= 16384
   AND vn.nspname !~ '^pg_(toast|temp)'
   AND v.relowner <> readers.oid
   AND NOT (v.relkind = 'v' AND EXISTS (SELECT FROM unnest(v.reloptions) AS o
                                         WHERE o ~* '^security_invoker=(t|tr|tru|true|y|ye|yes|on|1)$'))
   AND (b.oid < 16384
        OR NOT EXISTS (SELECT FROM pg_depend d
                        WHERE d.classid = 'pg_class'::regclass AND d.objid = v.oid AND d.deptype = 'e'))
   AND has_any_column_privilege(readers.oid, v.oid, 'SELECT')
   AND NOT has_table_privilege(readers.oid, b.oid, 'SELECT')
   AND CASE WHEN u.attnum > 0 THEN NOT has_column_privilege(readers.oid, b.oid, u.attnum::smallint, 'SELECT')
            ELSE NOT has_any_column_privilege(readers.oid, b.oid, 'SELECT') END
 GROUP BY 1, 2, 3, 4
 ORDER BY 1, 2, 3
