"""The shop's pages, the admin, and the two paths that the proxy calls."""

from __future__ import annotations

from django.contrib import admin
from django.urls import include, path

from .shop import views

urlpatterns = [
    path("", views.sign_up, name="sign-up"),
    path("customers/<int:pk>/", views.customer, name="customer"),
    path("customers/<int:pk>/buy/", views.buy, name="buy"),
    path("admin/", admin.site.urls),
    path("mail-proxy/", include("celery_mailproxy.django.urls")),
]
