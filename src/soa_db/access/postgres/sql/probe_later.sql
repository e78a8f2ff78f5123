-- What the users given, and PUBLIC, may do with the objects the probe's transaction has just made.
-- Each object is given as its kind and its name with schema.
WITH objects AS (
    SELECT * FROM unnest(%(kinds)s::text[], %(names)s::text[], %(schemas)s::text[]) AS o (kind, name, schema)
)
SELECT o.kind,
       o.schema,
       u AS "user",
       CASE o.kind
           WHEN 'schema' THEN ARRAY(SELECT p FROM unnest(ARRAY['USAGE', 'CREATE']) AS p
                                     WHERE has_schema_privilege(u, o.name, p))
           WHEN 'sequence' THEN ARRAY(SELECT p FROM unnest(ARRAY['SELECT', 'USAGE', 'UPDATE']) AS p
                                       WHERE has_sequence_privilege(u, o.name, p))
           WHEN 'routine' THEN ARRAY(SELECT 'EXECUTE' WHERE has_function_privilege(u, o.name, 'EXECUTE'))
           WHEN 'type' THEN ARRAY(SELECT 'USAGE' WHERE has_type_privilege(u, o.name, 'USAGE'))
           ELSE ARRAY(SELECT p FROM unnest(%(privileges)s::text[]) AS p WHERE has_table_privilege(u, o.name, p))
       END AS held
  FROM objects o
 CROSS JOIN unnest(%(users)s::text[]) AS u
