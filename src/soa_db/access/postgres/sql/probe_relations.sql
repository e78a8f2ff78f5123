-- What the current user may really do with every relation: memberships, PUBLIC and predefined roles counted in.
-- Members of extensions are left out: they belong to whoever installed the extension.
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
                  AND c.relkind = 'S') AS internal
  FROM pg_class c
  JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
   AND n.nspname <> 'information_schema'
   AND n.nspname !~ '^pg_'
   AND NOT EXISTS (SELECT FROM pg_depend d
                    WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
 ORDER BY 1, 2
