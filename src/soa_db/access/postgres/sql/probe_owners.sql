-- Relations, routines, types and schemas by owner, extensions' members and what initdb made left out.
WITH objects AS (
    SELECT CASE c.relkind WHEN 'v' THEN 'VIEW' WHEN 'm' THEN 'MATERIALIZED VIEW' WHEN 'S' THEN 'SEQUENCE'
                          WHEN 'f' THEN 'FOREIGN TABLE' ELSE 'TABLE' END AS kind,
           n.nspname AS schema, quote_ident(n.nspname) || '.' || quote_ident(c.relname) AS name, c.relowner AS owner,
           'pg_class'::regclass AS classid, c.oid AS objid
      FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND c.oid >= 16384
    UNION ALL
    SELECT 'ROUTINE', n.nspname, quote_ident(n.nspname) || '.' || quote_ident(p.proname)
           || '(' || pg_get_function_identity_arguments(p.oid) || ')', p.proowner, 'pg_proc'::regclass, p.oid
      FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
     WHERE p.oid >= 16384
    UNION ALL
    SELECT 'TYPE', n.nspname, quote_ident(n.nspname) || '.' || quote_ident(t.typname), t.typowner,
           'pg_type'::regclass, t.oid
      FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace
     WHERE t.oid >= 16384 AND t.typcategory <> 'A'
       AND (t.typrelid = 0 OR EXISTS (SELECT FROM pg_class c WHERE c.oid = t.typrelid AND c.relkind = 'c'))
    UNION ALL
    SELECT 'SCHEMA', n.nspname, quote_ident(n.nspname), n.nspowner, 'pg_namespace'::regclass, n.oid
      FROM pg_namespace n
     WHERE n.oid >= 16384 OR n.nspname = 'public'
)
SELECT o.kind,
       o.schema,
       pg_get_userbyid(o.owner) AS owner,
       EXISTS (SELECT FROM pg_roles r WHERE r.oid = o.owner AND r.rolsuper) AS of_superuser,
       array_agg(o.name ORDER BY o.name) AS names
  FROM objects o
 WHERE o.schema !~ '^pg_(toast|temp)'
   AND (o.schema NOT IN ('pg_catalog', 'information_schema')
        OR NOT EXISTS (SELECT FROM pg_roles r WHERE r.oid = o.owner AND r.rolsuper))
   AND pg_get_userbyid(o.owner) <> ALL (%(owners)s::text[])
   AND NOT EXISTS (SELECT FROM pg_depend d
                    WHERE d.classid = o.classid AND d.objid = o.objid AND d.deptype = 'e')
 GROUP BY 1, 2, 3, 4
 ORDER BY 1, 2, 3
