-- Column privileges of the current user, where a column has an ACL of its own or the specs speak of columns.
SELECT n.nspname AS schema,
       c.relname AS name,
       a.attname AS column_name,
       ARRAY(SELECT p
               FROM unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'REFERENCES']) AS p
              WHERE has_column_privilege(c.oid, a.attnum, p)) AS held
  FROM pg_attribute a
  JOIN pg_class c ON c.oid = a.attrelid
  JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE a.attnum > 0
   AND NOT a.attisdropped
   AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
   AND c.oid >= 16384
   AND n.nspname !~ '^pg_(toast|temp)'
   AND (a.attacl IS NOT NULL
        OR (n.nspname, c.relname) IN (SELECT * FROM unnest(%(schemas)s::text[], %(names)s::text[])))
   AND NOT EXISTS (SELECT FROM pg_init_privs i
                    WHERE i.classoid = 'pg_class'::regclass AND i.objoid = c.oid AND i.objsubid = a.attnum)
 ORDER BY 1, 2, a.attnum
