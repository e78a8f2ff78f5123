"""What `manage.py test` runs."""

from django.db import connection
from django.test import TestCase
from tests.integrations.django_backend.project.notes.models import Note


class NoteTest(TestCase):
    """In a test database."""

    def test_a_note_is_kept(self) -> None:
        """In the database that was made for the run, and nowhere else."""
        Note.objects.create(title="kept")
        assert Note.objects.get().title == "kept"
        assert connection.settings_dict["NAME"].startswith("test_")
        with connection.cursor() as cursor:
            cursor.execute("SELECT current_database()")
            assert cursor.fetchone() == (connection.settings_dict["NAME"],)
