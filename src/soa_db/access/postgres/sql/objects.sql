-- Every table, view, sequence, routine and type that is no extension's, grouped by ACL: 2,500 tables with the same
-- privileges are one row, and aclexplode works on the groups.
WITH schemas AS MATERIALIZED (
    SELECT oid, nspname FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'
), found (kind, schema, owner, acl, linked, name, arguments) AS (
    SELECT CASE c.relkind WHEN 'v' THEN 'view' WHEN 'm' THEN 'materialized view' WHEN 'f' THEN 'foreign table'
                          WHEN 'S' THEN 'sequence' ELSE 'table' END,
           c.relnamespace, c.relowner,
           coalesce(c.relacl, acldefault(CASE c.relkind WHEN 'S' THEN 's' ELSE 'r' END::"char", c.relowner)),
           -- The sequence of a serial or identity column: its owner is its table's.
           c.relkind = 'S' AND EXISTS (
               SELECT FROM pg_depend AS o
                WHERE o.classid = 'pg_class'::regclass AND o.objid = c.oid
                  AND o.refclassid = 'pg_class'::regclass AND o.deptype IN ('a', 'i')),
           c.relname, NULL
      FROM pg_class AS c
     WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
       AND NOT EXISTS (SELECT FROM pg_depend AS e
                        WHERE e.classid = 'pg_class'::regclass AND e.objid = c.oid AND e.deptype = 'e')
    UNION ALL
    -- A procedure is found by all its arguments, OUT ones too; functions and aggregates by what goes in.
    SELECT 'routine', p.pronamespace, p.proowner, coalesce(p.proacl, acldefault('f', p.proowner)), false, p.proname,
           CASE p.prokind
               WHEN 'p' THEN pg_get_function_identity_arguments(p.oid)
               ELSE array_to_string(ARRAY(SELECT format_type(t, NULL)
                                            FROM unnest(p.proargtypes) WITH ORDINALITY AS a (t, place)
                                           ORDER BY place), ', ')
           END
      FROM pg_proc AS p
     WHERE p.pronamespace IN (SELECT oid FROM schemas)
       -- Nor the constructors of range types, which follow their type.
       AND NOT EXISTS (SELECT FROM pg_depend AS e
                        WHERE e.classid = 'pg_proc'::regclass AND e.objid = p.oid AND e.deptype IN ('e', 'i'))
    UNION ALL
    -- Not the row types of tables, nor array and multirange types: they follow their table or element.
    SELECT 'type', t.typnamespace, t.typowner, coalesce(t.typacl, acldefault('T', t.typowner)), false, t.typname, NULL
      FROM pg_type AS t
     WHERE t.typnamespace IN (SELECT oid FROM schemas)
       AND (t.typtype IN ('b', 'd', 'e', 'r')
            OR t.typtype = 'c' AND (SELECT relkind FROM pg_class WHERE oid = t.typrelid) = 'c')
       AND NOT (t.typelem <> 0 AND t.typlen = -1 AND EXISTS (SELECT FROM pg_type AS e WHERE e.typarray = t.oid))
       AND NOT EXISTS (SELECT FROM pg_depend AS e
                        WHERE e.classid = 'pg_type'::regclass AND e.objid = t.oid AND e.deptype = 'e')
), grouped AS (
    SELECT found.kind, schemas.nspname, found.owner, found.acl, found.linked,
           jsonb_agg(jsonb_build_array(found.name, found.arguments)) AS names
      FROM found
      JOIN schemas ON schemas.oid = found.schema
     GROUP BY 1, 2, 3, 4, 5
)
SELECT kind, nspname::text, pg_get_userbyid(owner)::text,
       (SELECT jsonb_agg(jsonb_build_array(
                   CASE a.grantee WHEN 0 THEN 'public' ELSE pg_get_userbyid(a.grantee) END,
                   a.privilege_type, pg_get_userbyid(a.grantor), a.is_grantable))
          FROM aclexplode(acl) AS a),
       linked, names
  FROM grouped
