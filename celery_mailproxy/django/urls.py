"""What the proxy calls: `path("mail-proxy/", include("celery_mailproxy.django.urls"))`.

| name | path below the prefix | |
| --- | --- | --- |
| `celery_mailproxy:sync` | `sync`, `sync/` | delivery reports |
| `celery_mailproxy:attachments` | `attachments`, `attachments/` | attachments that are kept here |
"""

from __future__ import annotations

from django.urls import re_path

from . import views

app_name = "celery_mailproxy"

# Both ways of writing are one pattern: else APPEND_SLASH would redirect, and a redirected POST loses its reports.
urlpatterns = [
    re_path(r"^sync/?$", views.sync, name="sync"),
    re_path(r"^attachments/?$", views.attachments, name="attachments"),
]
