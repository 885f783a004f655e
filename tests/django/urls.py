"""What the tests serve."""

from __future__ import annotations

from django.contrib import admin
from django.urls import include, path

urlpatterns = [
    path("admin/", admin.site.urls),
    path("mail-proxy/", include("celery_mailproxy.django.urls")),
]
