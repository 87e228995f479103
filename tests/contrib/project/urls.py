"""URL configuration of the project."""

from __future__ import annotations

from django.urls import path

from .shop import views

urlpatterns = [
    path("double/<int:number>", views.double),
    path("put/<int:number>", views.put),
    path("orders/<int:number>/pay", views.pay),
]
