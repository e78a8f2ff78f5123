"""The same for `manage.py test`: as a user who may make databases, named by a variable."""

import os

from tests.integrations.django_backend.project.settings import *  # noqa: F403 - Django's way

from soa_db import PostgresConfig

DATABASES = {
    "default": {
        "ENGINE": "soa_db.django.postgresql",
        "OPTIONS": {"config": PostgresConfig.from_url(os.environ["TEST_DATABASE_URL"], instance_name="tests")},
    }
}
