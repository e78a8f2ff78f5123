"""Roles in code: ``db-access.yaml`` → plan → provision → verify → rotate."""
