-- The server's parameters that bear on access; those a server does not know are not in the result.
SELECT name, setting
  FROM pg_settings
 WHERE name IN ('password_encryption', 'lo_compat_privileges', 'rds.force_ssl', 'allow_system_table_mods',
                'session_replication_role', 'row_security')
 ORDER BY 1
