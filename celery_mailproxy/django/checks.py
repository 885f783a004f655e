"""System checks: `manage.py check`, or only these: `manage.py check --tag mail_proxy`.

They look at settings, and ask nobody. `manage.py mailproxy_check` tests the links to the proxy and back.
"""

from __future__ import annotations

from django.core.checks import register

from .setup.celery_email_checks import check_legacy_settings, check_loops, check_migration, check_registrations
from .setup.project_checks import (
    check_app,
    check_mailers,
    check_servers,
    check_settings,
    check_storage,
    check_urls,
)

__all__ = ["TAG"]

TAG = "mail_proxy"

for _check in (
    check_app,
    check_legacy_settings,
    check_loops,
    check_mailers,
    check_migration,
    check_registrations,
    check_servers,
    check_settings,
    check_storage,
    check_urls,
):
    register(_check, TAG)
