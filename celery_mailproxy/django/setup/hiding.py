"""The passwords of the store and the bounce mailbox stay off Django's debug page.

And out of the mails that Django writes to its admins.
"""

from __future__ import annotations

from django.conf import settings as django_settings

from ...conf.hiding import HiddenText, is_url_key

__all__ = ["hide_store_url"]


def hide_store_url() -> None:
    """Show these URLs without their passwords wherever Django shows settings. Once is enough.

    Django's filter hides by the key (`TOKEN`, `PASS`, …), so it knows our tokens, and not these URLs.
    """
    for name in dir(django_settings):
        if is_url_key(name) and isinstance(value := getattr(django_settings, name), str):
            setattr(django_settings, name, HiddenText(value))
