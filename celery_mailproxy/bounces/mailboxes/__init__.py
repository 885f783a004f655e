"""The mailboxes that bounces come to: `open_mailbox(url)` gives the one that a URL names."""

from __future__ import annotations

from importlib import import_module

from ...errors import ConfigurationError
from .base import Mailbox

__all__ = ["Mailbox", "open_mailbox"]

#: scheme → (module, class). They are imported when they are needed: IMAP is an optional dependency.
_MAILBOXES = {
    "imap": ("imap", "IMAPMailbox"),
    "imaps": ("imap", "IMAPMailbox"),
    "maildir": ("maildir", "Maildir"),
    "mbox": ("mbox", "MboxFile"),
}


def open_mailbox(url: str) -> Mailbox:
    """The mailbox of `imaps://user:password@host/INBOX`, `imap://…`, `maildir:///path` or `mbox:///path`.

    Nothing is connected yet. Raises `ConfigurationError` for other URLs.
    """
    scheme, separator, _ = url.partition("://")
    if not separator or scheme.lower() not in _MAILBOXES:
        # The value is not shown: it may hold a password.
        raise ConfigurationError(
            f"mail_proxy_bounce_mailbox must be {', '.join(f'{each}://' for each in _MAILBOXES)} and a place, like "
            "'imaps://user:password@mail.example.com/INBOX'."
        )
    module, name = _MAILBOXES[scheme.lower()]
    mailbox: Mailbox = getattr(import_module(f"{__name__}.{module}"), name).from_url(url)
    return mailbox
