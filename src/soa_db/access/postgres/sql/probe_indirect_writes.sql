-- Writes with the rights of a relation's owner that a user may set off and has no right to itself: through a view that
-- can be written, through a rule on a view or table, through an INSTEAD OF trigger whose function is SECURITY DEFINER.
-- What a rule reads and writes stands in its query tree (pg_rewrite.ev_action): a relation, and a bit per privilege it
-- takes there (requiredPerms: 1 INSERT, 2 SELECT, 4 UPDATE, 8 DELETE; nodes/parsenodes.h). A tree in which none can be
-- found counts as writing whatever the rule depends on.
WITH commands (command, updatable, fired, event) AS (
    -- updatable: the bit of pg_relation_is_updatable (utils/adt/misc.c); fired: pg_trigger.tgtype; event: ev_type.
    VALUES ('UPDATE', 4, 16, '2'), ('INSERT', 8, 4, '3'), ('DELETE', 16, 8, '4')
),
trees AS (
    SELECT w.oid AS rule, w.ev_class AS relation, w.ev_type::text AS event, w.ev_action::text AS tree
      FROM pg_rewrite w
     WHERE w.ev_class >= 16384 AND w.ev_enabled <> 'D'
),
depended AS (
    SELECT DISTINCT t.rule, t.relation, t.event, d.refobjid AS base
      FROM trees t
      JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = t.rule
                      AND d.refclassid = 'pg_class'::regclass AND d.refobjid <> t.relation
),
-- A view that can be written without rules has one relation in its FROM: the entry of the range table it names.
targets AS (
    SELECT t.relation,
           (SELECT m[1]::oid
              FROM regexp_matches(t.tree, ':rtekind 0 :relid (\d+)', 'g') WITH ORDINALITY AS x (m, place)
             WHERE place = substring(t.tree FROM ':fromlist \(\{RANGETBLREF :rtindex (\d+)\}\)')::integer) AS base
      FROM trees t
     WHERE t.event = '1'
),
written AS (
    SELECT t.relation, c.command, c.command AS needed, t.base
      FROM targets t
     CROSS JOIN commands c
     WHERE t.base IS NOT NULL AND pg_relation_is_updatable(t.relation, false) & c.updatable > 0
       AND NOT EXISTS (SELECT FROM trees r WHERE r.relation = t.relation AND r.event = c.event)
    UNION
    SELECT d.relation, c.command, c.command, d.base
      FROM depended d
      JOIN targets t ON t.relation = d.relation AND t.base IS NULL
     CROSS JOIN commands c
     WHERE d.event = '1' AND pg_relation_is_updatable(d.relation, false) & c.updatable > 0
       AND NOT EXISTS (SELECT FROM trees r WHERE r.relation = d.relation AND r.event = c.event)
    UNION
    SELECT t.relation, c.command, p.privilege, (x.m)[1]::oid
      FROM trees t
      JOIN commands c ON c.event = t.event
     CROSS JOIN LATERAL regexp_matches(t.tree, ':relid (\d+) [^{}]*:requiredPerms (\d+)', 'g') AS x (m)
      JOIN (VALUES ('INSERT', 1), ('SELECT', 2), ('UPDATE', 4), ('DELETE', 8)) AS p (privilege, bit)
        ON (x.m)[2]::integer & p.bit > 0
     WHERE (x.m)[1]::oid <> t.relation
    UNION
    SELECT d.relation, c.command, c.command, d.base
      FROM depended d
      JOIN trees t ON t.rule = d.rule AND t.tree !~ ':relid \d+ [^{}]*:requiredPerms'
      JOIN commands c ON c.event = d.event
)
SELECT r.rolname AS "user",
       n.nspname AS schema,
       v.relname AS name,
       w.command,
       w.needed AS privilege,
       v.relkind = 'v' AS view,
       array_agg(DISTINCT quote_ident(bn.nspname) || '.' || quote_ident(b.relname)) AS bases,
       NULL AS definer
  FROM written w
  JOIN pg_class v ON v.oid = w.relation
  JOIN pg_namespace n ON n.oid = v.relnamespace
  JOIN pg_class b ON b.oid = w.base
  JOIN pg_namespace bn ON bn.oid = b.relnamespace
  JOIN pg_roles r ON r.rolname = ANY (%(users)s::text[]) AND r.oid <> v.relowner
 WHERE NOT EXISTS (SELECT FROM unnest(v.reloptions) AS o WHERE o ~* '^security_invoker=(t|tr|tru|true|y|ye|yes|on|1)$')
   AND (has_table_privilege(r.oid, v.oid, w.command)
        OR (w.command <> 'DELETE' AND has_any_column_privilege(r.oid, v.oid, w.command)))
   AND NOT (has_table_privilege(r.oid, b.oid, w.needed)
            OR (w.needed <> 'DELETE' AND has_any_column_privilege(r.oid, b.oid, w.needed)))
 GROUP BY 1, 2, 3, 4, 5, 6
UNION ALL
SELECT r.rolname, n.nspname, v.relname, c.command, c.command, true,
       (SELECT array_agg(DISTINCT quote_ident(bn.nspname) || '.' || quote_ident(b.relname))
          FROM depended d JOIN pg_class b ON b.oid = d.base JOIN pg_namespace bn ON bn.oid = b.relnamespace
         WHERE d.relation = v.oid AND d.event = '1'),
       p.oid::regprocedure::text
  FROM pg_trigger t
  JOIN pg_class v ON v.oid = t.tgrelid
  JOIN pg_namespace n ON n.oid = v.relnamespace
  JOIN pg_proc p ON p.oid = t.tgfoid
  JOIN commands c ON t.tgtype & c.fired > 0
  JOIN pg_roles r ON r.rolname = ANY (%(users)s::text[]) AND r.oid <> v.relowner
 WHERE t.tgtype & 64 > 0 AND t.tgenabled <> 'D' AND p.prosecdef
   AND (has_table_privilege(r.oid, v.oid, c.command)
        OR (c.command <> 'DELETE' AND has_any_column_privilege(r.oid, v.oid, c.command)))
 ORDER BY 1, 2, 3, 4, 5
