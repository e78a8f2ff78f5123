-- Functions that run with their owner's rights, or in a language whose functions run in the server past all rights, and
-- who of the users given (and PUBLIC) may call them, or set them off as triggers. A trigger function cannot be called.
WITH runs AS (
    SELECT p.oid, p.proname, p.pronamespace, p.proowner, p.proconfig, p.prosecdef,
           p.prorettype = 'trigger'::regtype AS trigger,
           l.lanname AS language,
           NOT l.lanpltrusted AS untrusted,
           (SELECT x.extname FROM pg_depend d JOIN pg_extension x ON x.oid = d.refobjid
             WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e') AS extension
      FROM pg_proc p
      JOIN pg_language l ON l.oid = p.prolang
     WHERE (p.prosecdef OR (NOT l.lanpltrusted AND p.oid >= 16384))
       AND p.prorettype <> 'event_trigger'::regtype
)
SELECT n.nspname AS schema,
       p.proname AS name,
       quote_ident(n.nspname) || '.' || quote_ident(p.proname)
       || '(' || pg_get_function_identity_arguments(p.oid) || ')' AS signature,
       pg_get_userbyid(p.proowner) AS owner,
       EXISTS (SELECT FROM unnest(p.proconfig) AS setting WHERE setting ~ '^search_path=') AS fixed_path,
       p.prosecdef AS definer,
       p.trigger,
       p.language,
       p.extension,
       NOT p.trigger AND has_function_privilege('public', p.oid, 'EXECUTE') AS public,
       ARRAY(SELECT r.rolname::text
               FROM pg_roles r
              WHERE r.rolname = ANY (%(users)s::text[])
                AND (r.oid <> p.proowner OR NOT p.prosecdef)
                AND CASE WHEN p.trigger
                         THEN EXISTS (SELECT FROM pg_trigger t
                                       CROSS JOIN (VALUES ('INSERT', 4), ('DELETE', 8), ('UPDATE', 16), ('TRUNCATE', 32))
                                               AS c (command, bit)
                                       WHERE t.tgfoid = p.oid AND t.tgenabled <> 'D' AND t.tgtype & c.bit > 0
                                         AND (has_table_privilege(r.oid, t.tgrelid, c.command)
                                              OR (c.command IN ('INSERT', 'UPDATE')
                                                  AND has_any_column_privilege(r.oid, t.tgrelid, c.command))))
                         ELSE has_function_privilege(r.oid, p.oid, 'EXECUTE') END
              ORDER BY 1) AS callers
  FROM runs p
  JOIN pg_namespace n ON n.oid = p.pronamespace
 WHERE p.prosecdef OR (p.untrusted AND p.extension IS NULL)
 ORDER BY 1, 3
