-- Tables whose rows a user reaches through a parent (inheritance, partitions) with a privilege it lacks on the table: the
-- server asks for the parent's alone (PostgreSQL's "Inheritance", ddl-inherit).
WITH RECURSIVE ancestors AS (
    SELECT inhrelid AS child, inhparent AS parent FROM pg_inherits
    UNION
    SELECT a.child, i.inhparent FROM ancestors a JOIN pg_inherits i ON i.inhrelid = a.parent
)
SELECT r.rolname AS "user",
       cn.nspname AS schema,
       c.relname AS name,
       c.relkind::text AS kind,
       p AS privilege,
       array_agg(quote_ident(pn.nspname) || '.' || quote_ident(t.relname) ORDER BY 1) AS parents
  FROM ancestors a
  JOIN pg_class c ON c.oid = a.child AND c.relkind IN ('r', 'p', 'f')
  JOIN pg_namespace cn ON cn.oid = c.relnamespace
  JOIN pg_class t ON t.oid = a.parent
  JOIN pg_namespace pn ON pn.oid = t.relnamespace
 CROSS JOIN unnest(ARRAY['SELECT', 'UPDATE', 'DELETE']) AS p
  JOIN pg_roles r ON r.rolname = ANY (%(users)s::text[]) AND NOT pg_has_role(r.oid, c.relowner, 'USAGE')
 WHERE (has_table_privilege(r.oid, t.oid, p) OR (p <> 'DELETE' AND has_any_column_privilege(r.oid, t.oid, p)))
   AND NOT has_table_privilege(r.oid, c.oid, p)
 GROUP BY 1, 2, 3, 4, 5
 ORDER BY 1, 2, 3, 5
