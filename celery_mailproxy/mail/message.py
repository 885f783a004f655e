"""`MailMessage`: one mail to send, checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime, timezone
from typing import Any

from .arguments import normalise_arguments
from .attachment import Attachment
from .priority import Priority
from .validation import compose

__all__ = ["Attachment", "MailMessage", "Priority"]


@dataclass(frozen=True, slots=True, kw_only=True)
class MailMessage:
    """One mail. Made by `from_arguments`, which checks everything; the constructor checks nothing.

    Addresses are as they stand in a header (`Jané <j@example.com>`, domains in punycode). `from_email` is the visible
    sender; the envelope's is `return_path`, else the address in `from_email`. `headers` are the remaining ones,
    decoded. `send_at` and `expires_at` are in unix seconds; from the latter on the mail must not be sent. `raw` is a
    whole message as text: then `body` and `attachments` are empty, and what its headers say stands in the other fields.
    `envelope` names who gets the mail where that is not simply everybody in `to`, `cc` and `bcc`. `metadata` and `tags`
    are the application's own, and go to no proxy.
    """

    message_id: str
    from_email: str
    subject: str = ""
    body: str | None = field(default=None, repr=False)
    html_body: str | None = field(default=None, repr=False)
    to: tuple[str, ...] = ()
    cc: tuple[str, ...] = ()
    bcc: tuple[str, ...] = ()
    envelope: tuple[str, ...] = ()
    attachments: tuple[Attachment, ...] = ()
    headers: tuple[tuple[str, str], ...] = ()
    reply_to: tuple[str, ...] = ()
    return_path: str | None = None
    priority: Priority = Priority.MEDIUM
    account_id: str | None = None
    tenant_id: str | None = None
    batch_code: str | None = None
    send_at: int | None = None
    expires_at: int | None = None
    server: str = "default"
    raw: str | None = field(default=None, repr=False)
    metadata: Mapping[str, Any] = field(default_factory=dict, repr=False)
    tags: tuple[str, ...] = ()

    @property
    def recipients(self) -> tuple[str, ...]:
        """Who gets the mail: to, cc and bcc, or the envelope."""
        return self.envelope or self.to + self.cc + self.bcc

    @property
    def expires_moment(self) -> datetime | None:
        """`expires_at` as an aware time."""
        return None if self.expires_at is None else datetime.fromtimestamp(self.expires_at, timezone.utc)

    @classmethod
    def from_arguments(
        cls, arguments: Mapping[str, Any], *, message_id: str, default_from: str | None = None
    ) -> MailMessage:
        """The mail that a caller's keyword arguments of `send_via_proxy` describe.

        `message_id` counts where the arguments hold none, `default_from` where neither they nor the raw message name
        a sender. Raises `InvalidMessage` for what is wrong, `UnsupportedMessage` for what the proxy cannot express.
        """
        plain = {"message_id": message_id, **normalise_arguments(arguments)}
        composed: dict[str, Any] = compose(plain, default_from=default_from)
        composed["priority"] = Priority(plain.get("priority", Priority.MEDIUM))
        return cls(**composed)

    def to_json(self) -> dict[str, Any]:
        """A plain object; what is not set is left out."""
        plain: dict[str, Any] = {}
        for one in fields(self):
            value = getattr(self, one.name)
            if value != one.default and not (one.name == "metadata" and not value):
                plain[one.name] = list(value) if isinstance(value, tuple) else value
        plain["priority"] = int(self.priority)
        plain["attachments"] = [attachment.to_json() for attachment in self.attachments]
        plain["headers"] = dict(self.headers)
        return plain

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> MailMessage:
        """From the object that `to_json` makes; for those of one's own making there is `from_arguments`."""
        values: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in plain.items()
        }
        values["priority"] = Priority(plain.get("priority", Priority.MEDIUM))
        values["attachments"] = tuple(Attachment.from_json(one) for one in plain.get("attachments", ()))
        values["headers"] = tuple((str(name), str(value)) for name, value in plain.get("headers", {}).items())
        return cls(**values)
