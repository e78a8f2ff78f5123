-- User mappings of foreign servers: whoever has one can log in elsewhere with it. Their options are not read.
SELECT srvname AS server, coalesce(nullif(usename, 'public'), 'PUBLIC')::text AS "user"
  FROM pg_user_mappings
 ORDER BY 1, 2
