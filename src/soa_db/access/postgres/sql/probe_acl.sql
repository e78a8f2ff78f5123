-- Every right on anything in this database that is out of the ordinary: held by PUBLIC or by somebody the specs do not
-- know here (the users given are ordinary), or with the grant option. What a column holds stands under its relation.
-- Defaults are spelled out (acldefault), since a NULL ACL of a routine or a type means that PUBLIC may use it.
WITH objects AS (
    SELECT CASE c.relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END AS kind,
           n.nspname AS schema, quote_ident(n.nspname) || '.' || quote_ident(c.relname) AS name, c.relowner AS owner,
           coalesce(c.relacl, acldefault(CASE c.relkind WHEN 'S' THEN 's'::"char" ELSE 'r' END, c.relowner)) AS acl,
           'pg_class'::regclass AS classid, c.oid AS objid
      FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND c.oid >= 16384
    UNION ALL
    SELECT 'COLUMN', n.nspname,
           quote_ident(n.nspname) || '.' || quote_ident(c.relname) || '(' || quote_ident(a.attname) || ')',
           c.relowner, a.attacl, 'pg_class'::regclass, c.oid
      FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE a.attacl IS NOT NULL AND c.oid >= 16384
    UNION ALL
    SELECT 'SCHEMA', n.nspname, quote_ident(n.nspname), n.nspowner,
           coalesce(n.nspacl, acldefault('n', n.nspowner)), 'pg_namespace'::regclass, n.oid
      FROM pg_namespace n
     WHERE n.oid >= 16384 OR n.nspname = 'public'
    UNION ALL
    SELECT 'ROUTINE', n.nspname, quote_ident(n.nspname) || '.' || quote_ident(p.proname)
           || '(' || pg_get_function_identity_arguments(p.oid) || ')', p.proowner,
           coalesce(p.proacl, acldefault('f', p.proowner)), 'pg_proc'::regclass, p.oid
      FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
     WHERE p.oid >= 16384
    UNION ALL
    -- Row and array types follow their relation or element type.
    SELECT 'TYPE', n.nspname, quote_ident(n.nspname) || '.' || quote_ident(t.typname), t.typowner,
           coalesce(t.typacl, acldefault('T', t.typowner)), 'pg_type'::regclass, t.oid
      FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace
     WHERE t.oid >= 16384 AND t.typcategory <> 'A'
       AND (t.typrelid = 0 OR EXISTS (SELECT FROM pg_class c WHERE c.oid = t.typrelid AND c.relkind = 'c'))
    UNION ALL
    SELECT 'LANGUAGE', '', quote_ident(lanname), lanowner, coalesce(lanacl, acldefault('l', lanowner)),
           'pg_language'::regclass, oid
      FROM pg_language WHERE oid >= 16384
    UNION ALL
    SELECT 'FOREIGN DATA WRAPPER', '', quote_ident(fdwname), fdwowner, coalesce(fdwacl, acldefault('F', fdwowner)),
           'pg_foreign_data_wrapper'::regclass, oid
      FROM pg_foreign_data_wrapper
    UNION ALL
    SELECT 'FOREIGN SERVER', '', quote_ident(srvname), srvowner, coalesce(srvacl, acldefault('S', srvowner)),
           'pg_foreign_server'::regclass, oid
      FROM pg_foreign_server
    UNION ALL
    SELECT 'LARGE OBJECT', '', oid::text, lomowner, coalesce(lomacl, acldefault('L', lomowner)),
           'pg_largeobject'::regclass, oid
      FROM pg_largeobject_metadata
    UNION ALL
    SELECT 'DATABASE', '', quote_ident(datname), datdba, coalesce(datacl, acldefault('d', datdba)),
           'pg_database'::regclass, oid
      FROM pg_database WHERE datname = current_database()
    UNION ALL
    SELECT 'DEFAULT PRIVILEGES', coalesce(n.nspname, ''),
           CASE a.defaclobjtype WHEN 'r' THEN 'tables' WHEN 'S' THEN 'sequences' WHEN 'f' THEN 'routines'
                                WHEN 'T' THEN 'types' WHEN 'n' THEN 'schemas' ELSE 'large objects' END
           || ' of ' || pg_get_userbyid(a.defaclrole) || coalesce(' in ' || quote_ident(n.nspname), ''),
           a.defaclrole, a.defaclacl, 'pg_default_acl'::regclass, a.oid
      FROM pg_default_acl a LEFT JOIN pg_namespace n ON n.oid = a.defaclnamespace
)
SELECT o.kind,
       o.schema,
       CASE WHEN x.grantee = 0 THEN 'PUBLIC' ELSE pg_get_userbyid(x.grantee) END AS grantee,
       x.privilege_type AS privilege,
       x.is_grantable AS grantable,
       EXISTS (SELECT FROM pg_roles r WHERE r.oid = o.owner AND r.rolsuper) AS of_superuser,
       array_agg(o.name ORDER BY o.name) AS names
  FROM objects o
 CROSS JOIN LATERAL aclexplode(o.acl) AS x
 WHERE x.grantee <> o.owner
   AND o.schema !~ '^pg_(toast|temp)'
   -- A server of a cloud provider's has functions of its own among the system's; what they lend is another question.
   AND (o.kind IN ('TABLE', 'SEQUENCE', 'COLUMN') OR o.schema NOT IN ('pg_catalog', 'information_schema'))
   AND (x.is_grantable OR x.grantee = 0 OR NOT pg_get_userbyid(x.grantee) = ANY (%(users)s::text[]))
   AND NOT EXISTS (SELECT FROM pg_depend d
                    WHERE d.classid = o.classid AND d.objid = o.objid AND d.deptype = 'e')
 GROUP BY 1, 2, 3, 4, 5, 6
 ORDER BY 1, 2, 3, 4
