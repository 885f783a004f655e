"""The errors of celery-mailproxy: one tree under `MailProxyError`.

Every message says the rule, the value that broke it and what to do. A message that may quote a person's address or
a mail's text is for the caller only: whatever goes to a log or a result passes through `redact` first.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

__all__ = [
    "ID_IN_USE",
    "ConfigurationError",
    "DamagedRecord",
    "DeliveryError",
    "DispatchError",
    "InvalidMessage",
    "InvalidReport",
    "MailProxyError",
    "MailboxError",
    "MessageRejected",
    "MessageTooLarge",
    "ProxyRequestError",
    "ProxyUnavailable",
    "StoreError",
    "UnforeseenError",
    "UnsupportedMessage",
    "redact",
    "shown",
    "visible",
]

#: Why a mail is refused whose message id another mail has. Ids are unique among all tenants and servers of a store.
ID_IN_USE = "its message id is in use for another email; a new email takes a new id"

_OTHER = r"""\s<>"'(),;:\[\]\\"""
_WORD = f"[^{_OTHER}]+"
# With the brackets around it, which the replacement brings along. A match begins with its word: from every letter of a
# long one without an @ the search would take the square of its length.
_ADDRESS = re.compile(f"<{_WORD}@{_WORD}>|(?<![^{_OTHER}]){_WORD}@{_WORD}")


#: What our own messages give as examples, which are to be read.
_EXAMPLES = frozenset(
    {
        "<id@example.com>",
        "<name@example.com>",
        "bounces+{id}@example.com",
        "name@example.com",
        "password@host",
        "password@mail.example.com/INBOX",
        "qa@example.com",
    }
)

#: Line breaks of every kind, other control characters, what turns the direction of text, and lone surrogates.
_STEERING = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_SHORT_ESCAPES = {"\n": "\\n", "\r": "\\r"}


def redact(text: str) -> str:
    """The text as a log and a result may have it: `<address>` in place of what looks like a mail address, on one line.

    Whoever writes an SMTP server's answer, or an id, would else write lines of our log.
    """
    return visible(_ADDRESS.sub(lambda match: match[0] if match[0].rstrip(".") in _EXAMPLES else "<address>", text))


def visible(text: str) -> str:
    """The text on one line, with JSON's escapes in place of characters that steer a terminal or hide what is there."""
    return _STEERING.sub(lambda match: _SHORT_ESCAPES.get(match[0]) or f"\\u{ord(match[0]):04x}", text)


def shown(value: object) -> str:
    """The `repr` of what a caller has given, for an error's text; of what has none, its type."""
    try:
        return repr(value)
    except Exception:
        # A number of more than 4300 digits has none, to begin with.
        return f"{type(value).__name__} without a repr"


class MailProxyError(Exception):
    """The root of every error that celery-mailproxy raises on purpose."""


class ConfigurationError(MailProxyError):
    """A setting is missing, unknown or of the wrong type. The message names the key, the value and the remedy."""


class InvalidMessage(MailProxyError, ValueError):
    """A mail cannot be sent as it was given.

    `args` are `(argument, problem)`: the name of the offending argument (`to[2]`, `priority`, …) and the rule it
    breaks with its value. Raised in the caller at `.delay()`; a worker raises it with `redacted()` text only.
    """

    def __init__(self, argument: str, problem: str) -> None:
        super().__init__(argument, problem)
        self.argument = argument
        self.problem = problem

    def __str__(self) -> str:
        return f"{self.argument}: {self.problem}"

    def redacted(self) -> InvalidMessage:
        """The same error without the value it quotes: fit for a log or a result."""
        # A value stands in quotes, at the end of the problem, behind ", got ": the rule before it is ours.
        return type(self)(self.argument, redact(self.problem.split(", got ")[0]))


class UnsupportedMessage(InvalidMessage):
    """A mail is legal, but genro-mail-proxy has no way to express it. The message says why, and what would do."""


class MessageTooLarge(MailProxyError):
    """A task is larger than the broker takes. `args` are `(size_bytes, limit_bytes)`. Nothing has been published.

    The limit is RabbitMQ's `max_message_size`: 16 MB since RabbitMQ 4.0, before that 128 MB.
    """

    def __init__(self, size_bytes: int, limit_bytes: int) -> None:
        super().__init__(size_bytes, limit_bytes)
        self.size_bytes = size_bytes
        self.limit_bytes = limit_bytes

    def __str__(self) -> str:
        return (
            f"the task has {self.size_bytes:,} bytes, and the broker takes up to {self.limit_bytes:,}. Attach files by "
            f"reference (Attachment.from_url, from_proxy_disk, from_endpoint), send fewer emails in a task "
            f"(mail_proxy_chunk_size), or raise RabbitMQ's max_message_size."
        )


class MessageRejected(MailProxyError):
    """The proxy refused one message for good. `args` are `(message_id, reason)`; retrying cannot help."""

    def __init__(self, message_id: str, reason: str) -> None:
        super().__init__(message_id, reason)
        self.message_id = message_id
        self.reason = reason

    def __str__(self) -> str:
        return f"the proxy rejected message {self.message_id}: {redact(self.reason)}"

    def __repr__(self) -> str:
        # Celery logs the repr of a failed task's error, and a reason may quote an address.
        return f"{type(self).__name__}({self.message_id!r}, {redact(self.reason)!r})"


class MessageIdInUse(MailProxyError):
    """A task may not send its mail: the message id belongs to the mail of another task. Retrying cannot help."""


class DeliveryError(MailProxyError):
    """A mail was not delivered. `args` are `(reason, code, message_id)`, which survive every result backend.

    `reason` is what the proxy said, or why the mail never got there; it may quote an address, and is therefore not in
    the `str` and `repr`, which Celery logs. `code` is an SMTP code or an enhanced one, where one is known.
    """

    def __init__(self, reason: str | None, code: str | None, message_id: str) -> None:
        super().__init__(reason, code, message_id)
        self.reason = reason
        self.code = code
        self.message_id = message_id

    def __str__(self) -> str:
        return f"message {self.message_id} was not delivered: {redact(self.reason or 'no reason given')}"

    def __repr__(self) -> str:
        return f"{type(self).__name__}({redact(self.reason or '')!r}, {self.code!r}, {self.message_id!r})"


class DeliveryCancelled(DeliveryError):
    """A mail was withdrawn before it was sent: by `cancel`, or by a `mail_submitting` handler."""


class DeliveryExpired(DeliveryError):
    """A mail was not sent by its `expires_at`."""


class DeliverySuppressed(DeliveryError):
    """A mail was not sent, since all its recipients are on the suppression list."""


class CancelSend(MailProxyError):
    """Raise it in a `mail_submitting` handler to withdraw the mail. `reason` is for its report, and quotes no address.

    The mail ends as `cancelled`: see `signals.mail_cancelled`.
    """

    def __init__(self, reason: str = "cancelled by a handler") -> None:
        super().__init__(reason)
        self.reason = reason


class ProxyRequestError(MailProxyError):
    """The proxy refused a call for what is in it (400, 413, 422): no retry fixes that. `args` are `(problem, status)`.

    For a submission this is the proxy's word about that very mail, and ends it.
    """

    def __init__(self, problem: str, status: int | None = None) -> None:
        super().__init__(problem, status)
        self.problem = problem
        self.status = status

    def __str__(self) -> str:
        return self.problem


class ProxyUnavailable(MailProxyError):
    """The proxy could not be asked, or did not answer as it does: retry with the same message id.

    `remedy` is what somebody has to do first (a wrong token, a wrong URL), and None where the trouble passes by itself.
    `status` is that of the answer, `retry_after_seconds` what it asked for by `Retry-After` (RFC 9110, 10.2.3), else
    None. `maybe_accepted` is False only where the proxy surely has not taken what was submitted: no connection was
    made, or the answer is neither a success (2xx) nor a failure of the server (5xx).
    """

    def __init__(
        self,
        problem: str,
        *,
        status: int | None = None,
        retry_after_seconds: float | None = None,
        maybe_accepted: bool = True,
        remedy: str | None = None,
    ) -> None:
        super().__init__(problem)
        self.problem = problem
        self.status = status
        self.retry_after_seconds = retry_after_seconds
        self.maybe_accepted = maybe_accepted
        self.remedy = remedy

    def __str__(self) -> str:
        return self.problem if self.remedy is None else f"{self.problem}. {self.remedy}"

    def __reduce__(self) -> tuple[Any, ...]:
        # Celery pickles errors on some result backends; keyword-only arguments need help on the way back.
        return (
            _rebuild_unavailable,
            (self.problem, self.status, self.retry_after_seconds, self.maybe_accepted, self.remedy),
        )


def _rebuild_unavailable(
    problem: str,
    status: int | None,
    retry_after_seconds: float | None,
    maybe_accepted: bool,
    remedy: str | None = None,
) -> ProxyUnavailable:
    return ProxyUnavailable(
        problem,
        status=status,
        retry_after_seconds=retry_after_seconds,
        maybe_accepted=maybe_accepted,
        remedy=remedy,
    )


class UnforeseenError(MailProxyError):
    """An unexpected error kept a mail from being sent. The mail is tried again, and given up in the end.

    The message names the error's class and where it was raised, and quotes nothing: its text may hold an address.
    """


class InvalidReport(MailProxyError, ValueError):
    """A report body, or one entry of it, is not of the shape that genro-mail-proxy sends."""


class DispatchError(MailProxyError):
    """Some reports could not be dispatched, though no handler failed; they stay claimed, and are dispatched again."""


class MailboxError(MailProxyError):
    """The mailbox that bounces come to cannot be reached, or does not let us in. The next look may find it mended."""


class StoreError(MailProxyError):
    """The delivery store could not be reached or is damaged. Passing failures are worth a retry."""


class DamagedRecord(StoreError):
    """Records in the store cannot be read: those of the mails `message_ids`. `args` are `(message_ids, problem)`."""

    def __init__(self, message_ids: Sequence[str], problem: str) -> None:
        super().__init__(tuple(message_ids), problem)
        self.message_ids = tuple(message_ids)
        self.problem = problem

    def __str__(self) -> str:
        return f"the record of message {', '.join(map(repr, self.message_ids))} is damaged: {self.problem}"
