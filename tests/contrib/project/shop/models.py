"""What the shop keeps."""

from __future__ import annotations

from django.db import models


class Order(models.Model):  # type: ignore[misc]
    """An order, which is open until the server says that it was paid."""

    number = models.IntegerField(unique=True)
    state = models.CharField(max_length=20, default="open")
