"""One model."""

from __future__ import annotations

from django.db import models


class Note(models.Model):
    """A note."""

    title: models.CharField[str, str] = models.CharField(max_length=50, unique=True)
    done: models.BooleanField[bool, bool] = models.BooleanField(default=False)

    class Meta:
        app_label = "notes"

    def __str__(self) -> str:
        return self.title
