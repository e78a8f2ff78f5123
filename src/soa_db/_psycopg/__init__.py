"""What both kinds of PostgreSQL shell share and no decision may know: psycopg's errors, libpq's files, forks."""
