"""A mail for some of its recipients only: for those whom a staging system may reach, for those who are not unwanted."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

from ..errors import InvalidMessage
from .headers import read_addresses
from .message import MailMessage

__all__ = ["keys_of", "restricted", "without"]


def restricted(message: MailMessage, *, allowed: Sequence[str], redirect_to: Sequence[str]) -> MailMessage:
    """The mail without the recipients that are not allowed, who are replaced by `redirect_to`.

    `allowed` are addresses, and domains as `@example.com`, in lower case. With `redirect_to` alone nobody else gets
    mail; with neither the mail stays as it is. Visible and hidden recipients go alike: none that is removed is left in
    `To` or `Cc`. Raises `InvalidMessage` where nobody is left.
    """
    if not allowed and not redirect_to:
        return message
    patterns = frozenset(allowed)
    to, cc, bcc, envelope = (
        tuple(each for each in mailboxes if _is_allowed(each, patterns))
        for mailboxes in (message.to, message.cc, message.bcc, message.envelope)
    )
    if (to, cc, bcc, envelope) == (message.to, message.cc, message.bcc, message.envelope):
        return message
    # An address that is only shown, and gets nothing, is replaced by nobody.
    if envelope != message.envelope or not message.envelope:
        to += tuple(address for address in redirect_to if address not in to)
    if envelope != message.envelope:
        envelope += tuple(address for address in redirect_to if address not in envelope)
    if not (envelope if message.envelope else to + cc + bcc):
        raise InvalidMessage(
            "to",
            "must have a recipient that mail_proxy_allowed_recipients names; all were removed. Add one there, or set "
            "mail_proxy_redirect_to",
        )
    return replace(message, to=to, cc=cc, bcc=bcc, envelope=envelope)


def _is_allowed(mailboxes: str, patterns: frozenset[str]) -> bool:
    """Whether everybody in that part of a header may get the mail."""
    addresses = [address.lower() for _, address in read_addresses(mailboxes)]
    return bool(addresses) and all(
        address in patterns or f"@{address.rpartition('@')[2]}" in patterns for address in addresses
    )


def keys_of(message: MailMessage) -> tuple[str, ...]:
    """The addresses of those who get the mail, each once, as `addresses.address_key` gives them."""
    return tuple(dict.fromkeys(key for each in message.recipients for key in _keys(each)))


def without(message: MailMessage, unwanted: Collection[str]) -> tuple[MailMessage, int]:
    """The mail without those recipients, named by their keys, and how many of them it had.

    Nobody may be left. They are not seen in `To` and `Cc` any more, unless these say nothing of who gets the mail
    (`envelope`).
    """
    dropped = sum(key in unwanted for key in keys_of(message))
    if not dropped:
        return message, 0
    names = ("envelope",) if message.envelope else ("to", "cc", "bcc")
    kept: dict[str, Any] = {
        name: tuple(each for each in getattr(message, name) if not _is_one_of(each, unwanted)) for name in names
    }
    if not any(kept.values()):
        kept |= {"to": (), "cc": (), "bcc": (), "envelope": ()}
    return replace(message, **kept), dropped


def _is_one_of(mailboxes: str, unwanted: Collection[str]) -> bool:
    return any(key in unwanted for key in _keys(mailboxes))


def _keys(mailboxes: str) -> list[str]:
    return [address.lower() for _, address in read_addresses(mailboxes)]
