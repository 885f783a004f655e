"""`unpack`: the mails that lie in one task of django-celery-email, whatever shape its arguments have."""

from __future__ import annotations

import base64
import datetime
import decimal
import hashlib
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from email.message import Message
from typing import Any

from django.core.mail import EmailMessage
from django.utils.functional import Promise
from kombu.utils.json import dumps, loads

__all__ = ["QueuedMail", "QueuedTask", "unpack"]

#: An SMTP server's login, which the old backend's options carry. It is never kept.
_CREDENTIALS = frozenset({"auth_password", "auth_user", "password", "username"})

#: Nothing that a mail is made of lies deeper.
_DEEPEST = 32

_DIGEST_LENGTH = 20

#: Attributes of a pickled `EmailMessage`, by their name in the arguments of a new one.
_ATTRIBUTES = {
    "subject": "subject",
    "body": "body",
    "from_email": "from_email",
    "to": "to",
    "cc": "cc",
    "bcc": "bcc",
    "reply_to": "reply_to",
    "headers": "extra_headers",
    "alternatives": "alternatives",
}

#: What every `EmailMessage` has, and no mail is made of.
_OWN_ATTRIBUTES = frozenset({*_ATTRIBUTES.values(), "attachments", "connection"})

#: What JSON can carry the way kombu writes it, there and back.
_PLAIN = (str, int, float, bytes, datetime.date, datetime.time, decimal.Decimal, uuid.UUID)


@dataclass(frozen=True, slots=True, kw_only=True)
class QueuedMail:
    """One mail of a queued task, or what lies in its place. `text` is JSON as kombu writes it, without a login.

    `message_id` is the task's id and a digest of the text: a mail that was tried and queued again by itself has the
    same one as in its first task.
    """

    message_id: str
    text: str = field(repr=False)

    @property
    def content(self) -> Any:
        """What was queued: a dict, if it is a mail."""
        return loads(self.text)


@dataclass(frozen=True, slots=True, kw_only=True)
class QueuedTask:
    """The mails of one task, and the mailer by which they were to be sent, where it names one."""

    mails: tuple[QueuedMail, ...]
    using: str | None = None

    def arguments(self, message_ids: frozenset[str]) -> tuple[list[Any], dict[str, Any]]:
        """The arguments of a task of these mails, which django-celery-email understands as well.

        Of several mails that are alike none is left out: a number distinguishes them.
        """
        wanted = {_alike(mail.text) for mail in self.mails if mail.message_id in message_ids}
        left = [mail.content for mail in self.mails if _alike(mail.text) in wanted]
        return [left, {}], {} if self.using is None else {"using": self.using}


def unpack(args: Sequence[Any], kwargs: Mapping[str, Any], *, task_id: str) -> QueuedTask:
    """The mails in the arguments of a task. Never raises: whatever is no mail is in the list, too."""
    messages = args[0] if args else kwargs.get("messages")
    several = list(messages) if isinstance(messages, (list, tuple)) else [messages]
    using = kwargs.get("using")
    return QueuedTask(
        mails=tuple(_numbered([_text(one) for one in several], task_id)),
        using=using if isinstance(using, str) else None,
    )


def _numbered(texts: Sequence[str], task_id: str) -> Iterator[QueuedMail]:
    """Mails with their ids. Of those that are alike the second has a number: who sends twice means two mails."""
    seen: Counter[str] = Counter()
    for text in texts:
        digest = _alike(text)
        suffix = f"-{seen[digest]}" if seen[digest] else ""
        seen[digest] += 1
        yield QueuedMail(message_id=f"{task_id}-{digest}{suffix}", text=text)


def _alike(text: str) -> str:
    # The order of a dict's keys may change on the way through a broker.
    return hashlib.sha256(dumps(loads(text), sort_keys=True).encode()).hexdigest()[:_DIGEST_LENGTH]


def _text(value: Any) -> str:
    return str(dumps(_plain(value, 0)))


def _plain(value: Any, depth: int) -> Any:
    """The value as kombu's JSON can carry it, without logins. Of an object of another kind its class alone is left."""
    if value is None or type(value) in (bool, *_PLAIN):
        return value
    if isinstance(value, Promise):
        return str(value)
    if isinstance(value, str):
        # A plain one also of a subclass, such as Django's SafeString.
        return str.__getitem__(value, slice(None))
    if isinstance(value, _PLAIN):
        return value
    if depth == _DEEPEST:
        return "<…>"
    if isinstance(value, EmailMessage):
        value = _of_message(value)
    if isinstance(value, Message):
        return {"mime": base64.b64encode(value.as_bytes()).decode()}
    if isinstance(value, Mapping):
        return {str(key): _plain(item, depth + 1) for key, item in value.items() if str(key) not in _CREDENTIALS}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(item, depth + 1) for item in value]
    return f"<{type(value).__module__}.{type(value).__qualname__}>"


def _of_message(message: EmailMessage) -> dict[str, Any]:
    """A pickled message as the dict that a JSON task has in its place.

    Of what an older release of Django has pickled some attributes may be missing.
    """
    found = vars(message)
    named = {name: found[attribute] for name, attribute in _ATTRIBUTES.items() if attribute in found}
    # The content type's parts and whatever attributes the project gives its messages.
    own = {name: value for name, value in found.items() if name not in _OWN_ATTRIBUTES and not name.startswith("_")}
    return {**own, **named, "attachments": [_attachment(one) for one in found.get("attachments") or ()]}


def _attachment(attachment: Any) -> Any:
    if not isinstance(attachment, tuple) or len(attachment) != 3:
        return attachment
    filename, content, mimetype = attachment
    if isinstance(content, str):
        content = content.encode()
    encoded = base64.b64encode(content).decode() if isinstance(content, (bytes, bytearray)) else content
    return [filename, encoded, mimetype]
