"""`read`: the `EmailMessage` that a queued dict describes."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterator, Mapping
from email import message_from_bytes, policy
from email.message import Message
from email.mime.base import MIMEBase
from typing import Any

import django
from django.conf import settings as django_settings
from django.core.mail import EmailMessage, EmailMultiAlternatives
from django.utils.module_loading import import_string

from ...errors import ConfigurationError, InvalidMessage

__all__ = ["read"]

_ARGUMENTS = ("subject", "body", "from_email", "to", "cc", "bcc", "reply_to", "headers")

_LISTS = ("to", "cc", "bcc", "reply_to")

#: Attributes of the class, which a message may have otherwise.
_SUBTYPES = ("content_subtype", "encoding")

#: Reading these makes Django warn.
_DEPRECATED = frozenset({"connection"})

#: Django 6 builds attachments of Python's newer classes, and has lost `mixed_subtype` and `alternative_subtype`.
_IS_MODERN = django.VERSION >= (6, 0)
_LOST_SUBTYPES = {"mixed_subtype": "mixed", "alternative_subtype": "alternative"}


def read(content: Any) -> EmailMessage:
    """The message, not yet built. Raises `InvalidMessage` for what is none, and `ConfigurationError`."""
    if not isinstance(content, Mapping):
        raise InvalidMessage("message", f"must be a dict, got {type(content).__name__}")
    if not any(name in content for name in ("to", "cc", "bcc")):
        raise InvalidMessage("message", "must say to whom it goes: it has neither to, cc nor bcc")
    arguments = {name: content[name] for name in _ARGUMENTS if content.get(name) is not None}
    for name in _LISTS:
        # Django takes whatever can be walked through, and would send to the keys of a dict.
        if name in arguments and not isinstance(arguments[name], list | tuple):
            raise InvalidMessage(name, f"must be a list, got {type(arguments[name]).__name__}")
    attachments = list(_attachments(content.get("attachments") or []))
    try:
        message = _message_class("alternatives" in content)(**arguments)
        for attachment in attachments:
            if isinstance(attachment, Message):
                message.attach(attachment)
            else:
                message.attach(*attachment)
        for alternative in content.get("alternatives") or ():
            message.attach_alternative(*alternative)
    except (TypeError, ValueError, AttributeError) as exc:
        raise InvalidMessage("message", f"cannot be made ({type(exc).__name__}), got {exc}") from exc
    _set_attributes(message, content)
    return message


def _message_class(has_alternatives: bool) -> Callable[..., Any]:
    """The project's own class where django-celery-email-reboot was given one."""
    name = "CELERY_EMAIL_MULTI_ALTERNATIVES_CLASS" if has_alternatives else "CELERY_EMAIL_MESSAGE_CLASS"
    path = getattr(django_settings, name, None)
    if path is None:
        return EmailMultiAlternatives if has_alternatives else EmailMessage
    try:
        found: Callable[..., Any] = import_string(path)
    except (ImportError, TypeError, AttributeError) as exc:
        raise ConfigurationError(f"{name} must name a class that can be imported, got {path!r}: {exc}") from exc
    return found


def _attachments(attachments: Any) -> Iterator[Any]:
    for index, attachment in enumerate(_listed("attachments", attachments)):
        name = f"attachments[{index}]"
        if isinstance(attachment, Mapping):
            yield _part(_decoded(name, attachment.get("mime")))
            continue
        try:
            filename, content, mimetype = attachment
        except (TypeError, ValueError):
            raise InvalidMessage(name, "must be [filename, base64, mimetype] or {'mime': base64}") from None
        # With neither there is nothing by which Django could guess what it is.
        yield filename, _decoded(name, content), mimetype or (None if filename else "application/octet-stream")


def _listed(name: str, value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise InvalidMessage(name, f"must be a list, got {type(value).__name__}")
    return value


def _decoded(name: str, text: Any) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (TypeError, ValueError, binascii.Error):
        raise InvalidMessage(name, "must hold base64") from None


def _part(source: bytes) -> Message:
    """A whole MIME part, of the class that this Django attaches."""
    if _IS_MODERN:
        from email.message import MIMEPart

        return message_from_bytes(source, _class=MIMEPart, policy=policy.default)
    parsed = message_from_bytes(source, policy=policy.compat32)
    part = MIMEBase(parsed.get_content_maintype(), parsed.get_content_subtype())
    for name in ("Content-Type", "MIME-Version"):
        del part[name]
    for name, value in parsed.raw_items():
        part.set_raw(name, value)
    part.set_payload(parsed.get_payload())
    part.preamble, part.epilogue = parsed.preamble, parsed.epilogue
    return part


def _set_attributes(message: Any, content: Mapping[str, Any]) -> None:
    """What else was queued: extra attributes, which shadow none of the message's own."""
    for name, value in content.items():
        if name in _LOST_SUBTYPES:
            if not _IS_MODERN:
                setattr(message, name, value)
            elif value != _LOST_SUBTYPES[name]:
                _set_subtype(message, _LOST_SUBTYPES[name], value)
        elif name in _SUBTYPES or (name not in _DEPRECATED and not hasattr(message, name)):
            setattr(message, name, value)


def _set_subtype(message: Any, before: str, after: Any) -> None:
    """Let the message be built with another kind of multipart, which Django 6 has no attribute for any more."""
    build = message.message

    def build_so(*args: Any, **kwargs: Any) -> Any:
        built = build(*args, **kwargs)
        for part in built.walk():
            if part.get_content_type() == f"multipart/{before}":
                part.set_type(f"multipart/{after}")
                break
        return built

    message.message = build_so
