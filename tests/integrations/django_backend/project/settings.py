"""The settings of a service: nothing in them is secret. DJANGO_ENV and DJANGO_SERVICE are the tests' own."""

import os

OPTIONS = {"env": os.environ.get("DJANGO_ENV", "dev"), "service": os.environ.get("DJANGO_SERVICE", "notes")}

DATABASES = {
    "default": {"ENGINE": "soa_db.django.postgresql", "OPTIONS": {**OPTIONS, "role": "app"}},
    "owner": {"ENGINE": "soa_db.django.postgresql", "OPTIONS": {**OPTIONS, "role": "owner"}},
}
CACHES = {"default": {"BACKEND": "soa_db.django.cache.RedisCache", "OPTIONS": OPTIONS}}
INSTALLED_APPS = ["django.contrib.contenttypes", "tests.integrations.django_backend.project.notes"]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
SECRET_KEY = "of the tests"
USE_TZ = True
