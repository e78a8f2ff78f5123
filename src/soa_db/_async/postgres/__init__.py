"""PostgreSQL: loader, credentials at connect time, provider."""
