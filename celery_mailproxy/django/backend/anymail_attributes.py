"""The attributes by which django-anymail extends Django's messages: read, refused, or ignored with a warning.

https://anymail.dev/en/stable/sending/anymail_additions/. A message may have them whether it is anymail's or not.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from datetime import date, datetime, time
from typing import Any

from django.utils.functional import Promise
from django.utils.timezone import is_naive, make_aware

from ...errors import UnsupportedMessage

__all__ = ["anymail_options"]

logger = logging.getLogger(__name__)

#: attribute → the option that it is here.
_READ = {"envelope_sender": "return_path", "metadata": "metadata", "send_at": "send_at", "tags": "tags"}

#: Without what these ask for it would be another mail: of other content, or to be seen by others.
_REFUSED = {
    "template_id": "render the template yourself",
    "merge_data": "send an email to each recipient",
    "merge_global_data": "render the template yourself",
    "merge_headers": "send an email to each recipient",
    "merge_metadata": "send an email to each recipient",
}

#: What only the API of an e-mail service can do, and the mail is the same without.
_IGNORED = ("esp_extra", "track_clicks", "track_opens")

#: The attributes of which it has been said in this process that they are ignored.
_said: set[str] = set()


def anymail_options(message: Any) -> dict[str, Any]:
    """What the message's attributes say, as options. Raises `UnsupportedMessage` for what the proxy cannot do."""
    for name, remedy in _REFUSED.items():
        if _is_set(getattr(message, name, None)):
            raise UnsupportedMessage(name, f"is for the API of an e-mail service, which the proxy is none: {remedy}")
    for name in _IGNORED:
        if name not in _said and _is_set(getattr(message, name, None)):
            _said.add(name)
            logger.warning("an email's %s is ignored: it is for the API of an e-mail service", name)
    found = {option: getattr(message, name, None) for name, option in _READ.items()}
    return {option: _converted(value) for option, value in found.items() if _is_set(value)}


def _is_set(value: Any) -> bool:
    # An `AnymailMessage` says so of what it was not given. Where there is one, that module has been imported.
    unset = getattr(sys.modules.get("anymail.utils"), "UNSET", None)
    return value is not None and value is not unset


def _converted(value: Any) -> Any:
    """As anymail does it: a time without a zone is Django's local one, and a day begins at midnight."""
    if isinstance(value, date):
        moment = value if isinstance(value, datetime) else datetime.combine(value, time())
        return make_aware(moment) if is_naive(moment) else moment
    return _forced(value)


def _forced(value: Any) -> Any:
    """The value without texts that are translated when they are used, which JSON cannot express."""
    if isinstance(value, Promise):
        return str(value)
    if isinstance(value, Mapping):
        return {key: _forced(each) for key, each in value.items()}
    return [_forced(each) for each in value] if isinstance(value, list | tuple) else value
