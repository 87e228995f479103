"""Models of the shop."""

from __future__ import annotations

from django.db import models


class Order(models.Model):  # type: ignore[misc]
    """An order, open until the server reports the payment."""

    number = models.IntegerField(unique=True)
    state = models.CharField(max_length=20, default="open")
