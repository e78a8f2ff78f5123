"""Django's PostgreSQL back end with fresh credentials at every connect: ``ENGINE: "soa_db.django.postgresql"``."""
