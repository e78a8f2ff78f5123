-- Event triggers: their functions run as whoever sets them off, administrators too, so that their owners' word is law.
SELECT quote_ident(e.evtname) AS name, p.oid::regprocedure::text AS signature, pg_get_userbyid(p.proowner) AS owner
  FROM pg_event_trigger e
  JOIN pg_proc p ON p.oid = e.evtfoid
 WHERE e.evtenabled <> 'D'
 ORDER BY 1
