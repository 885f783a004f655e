"""What a kept mail looks like, without trusting it: nothing of it runs, and nothing is loaded from anywhere."""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass, field
from email import policy
from email.message import EmailMessage, MIMEPart
from email.parser import BytesParser

from django.http import HttpResponse

__all__ = ["MailContent", "PreviewedAttachment", "html_response", "read_content", "source_response"]

#: A page of its own origin, without scripts, forms or anything from elsewhere; shown inside the admin only.
_POLICY = (
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'self'; sandbox"
)

#: Larger inline images are left out: the page would hold each as text.
_IMAGE_BYTES = 1024 * 1024

_CID = re.compile(r"""(?i)\bcid:([^"'\s)>]+)""")
_HEAD = re.compile(r"(?i)<head(\s[^>]*)?>|<html(\s[^>]*)?>|<!doctype[^>]*>")


@dataclass(frozen=True, slots=True, kw_only=True)
class PreviewedAttachment:
    """An attachment's name, type and size; what is in it is for the recipient."""

    name: str
    content_type: str
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MailContent:
    """A kept mail, read."""

    text: str | None = field(default=None, repr=False)
    html: str | None = field(default=None, repr=False)
    attachments: tuple[PreviewedAttachment, ...] = ()


def read_content(source: bytes) -> MailContent:
    """The parts of a mail that people look at. Whatever is wrong with a part, the others are shown."""
    message: EmailMessage = BytesParser(EmailMessage, policy=policy.default).parsebytes(source)
    plain, html = message.get_body(("plain",)), message.get_body(("html",))
    return MailContent(
        text=None if plain is None else _text_of(plain),
        html=None if html is None else _with_images(_text_of(html), message),
        attachments=tuple(_attachment(part) for part in _attachments(message)),
    )


def html_response(content: MailContent) -> HttpResponse:
    """The HTML part, with its inline images; its links lead nowhere."""
    html = content.html or ""
    begin = max((match.end() for match in _HEAD.finditer(html[:4096])), default=0)
    # A sandbox opens no new windows: so no click leaves the page either.
    html = f'{html[:begin]}<meta charset="utf-8"><base target="_blank">{html[begin:]}'
    return _guarded(HttpResponse(html, content_type="text/html; charset=utf-8"))


def source_response(source: bytes, *, name: str) -> HttpResponse:
    """The mail as a file."""
    response = HttpResponse(source, content_type="message/rfc822")
    safe = re.sub(r"[^\w.-]", "_", name, flags=re.ASCII)
    response["Content-Disposition"] = f'attachment; filename="{safe}.eml"'
    return _guarded(response)


def _guarded(response: HttpResponse) -> HttpResponse:
    response["Content-Security-Policy"] = _POLICY
    response["X-Content-Type-Options"] = "nosniff"
    response["X-DNS-Prefetch-Control"] = "off"
    response["X-Frame-Options"] = "SAMEORIGIN"
    response["Referrer-Policy"] = "no-referrer"
    response["Cache-Control"] = "private, no-store"
    return response


def _text_of(part: MIMEPart) -> str:
    payload = part.get_payload(decode=True)
    if not isinstance(payload, bytes):
        return ""
    try:
        return payload.decode(part.get_content_charset("utf-8"), "replace")
    except LookupError:
        return payload.decode("utf-8", "replace")


def _with_images(html: str, message: EmailMessage) -> str:
    """The page with `cid:` images replaced by themselves."""
    images = {
        str(part["Content-ID"]).strip().strip("<>"): part
        for part in message.walk()
        if part["Content-ID"] and part.get_content_maintype() == "image"
    }

    def data_url(match: re.Match[str]) -> str:
        part = images.get(match[1])
        payload = part.get_payload(decode=True) if part is not None else None
        if part is None or not isinstance(payload, bytes) or len(payload) > _IMAGE_BYTES:
            return match[0]
        return f"data:{part.get_content_type()};base64,{base64.b64encode(payload).decode('ascii')}"

    return _CID.sub(data_url, html)


def _attachments(message: EmailMessage) -> list[EmailMessage]:
    try:
        found = list(message.iter_attachments())
    except (AttributeError, TypeError):
        # A multipart message that is none: it has no parts.
        return []
    return [part for part in found if isinstance(part, EmailMessage)]


def _attachment(part: EmailMessage) -> PreviewedAttachment:
    payload = part.get_payload(decode=True)
    size = len(payload) if isinstance(payload, bytes) else len(part.as_bytes())
    return PreviewedAttachment(
        name=part.get_filename() or part.get_content_type(), content_type=part.get_content_type(), size_bytes=size
    )
