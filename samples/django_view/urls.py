"""The route of the view."""

from __future__ import annotations

from django.urls import path

from .views import user

urlpatterns = [path("users/<int:number>", user)]
