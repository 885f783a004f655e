"""The values that `ReportReceiver` takes and gives, and what HTTP itself has to say about them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from .resolvers import ResolvedAttachment

__all__ = [
    "Request",
    "Response",
    "attachment_response",
    "error_response",
    "json_response",
    "media_problem",
    "normal_path",
]

_MEDIA_TYPE = re.compile(r"[\w!#$&^.+-]+/[\w!#$&^.+-]+(; *[\w-]+=[\w.-]+)*", re.ASCII)

Headers = Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One HTTP request.

    `path` is decoded, starts with a slash and is seen from where the skin is mounted; `mount` is the prefix before
    it, often empty. Header names are lower-case, and values are Latin-1 as HTTP has them. `client` is the address of
    the other side, for the log.
    """

    method: str
    path: str
    mount: str = ""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes = field(default=b"", repr=False)
    client: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """One HTTP response, with all the headers it needs."""

    status: int
    headers: Headers
    body: bytes = field(repr=False)


def json_response(
    status: int, content: Mapping[str, Any], *, headers: Headers = (), with_body: bool = True
) -> Response:
    """A JSON response; without its body it is the answer to HEAD."""
    body = json.dumps(content).encode("ascii")
    own = [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
    return Response(status=status, headers=(*own, *headers), body=body if with_body else b"")


def error_response(status: int, code: str, detail: str, *, headers: Headers = ()) -> Response:
    """`{"ok": false, "error": code, "detail": what is wrong and what to do}`."""
    return json_response(status, {"ok": False, "error": code, "detail": detail}, headers=headers)


def attachment_response(attachment: ResolvedAttachment) -> Response:
    """The content itself, with its media type and file name."""
    mime_type = attachment.mime_type
    headers = [
        ("Content-Type", mime_type if _MEDIA_TYPE.fullmatch(mime_type) else "application/octet-stream"),
        ("Content-Length", str(len(attachment.content))),
    ]
    if attachment.filename:
        headers.append(("Content-Disposition", _disposition(attachment.filename)))
    return Response(status=200, headers=tuple(headers), body=attachment.content)


def _disposition(filename: str) -> str:
    # RFC 6266: an ASCII name for old clients, and the real one beside it.
    plain = re.sub(r"[^\w .,()+-]", "_", filename, flags=re.ASCII)
    if plain == filename:
        return f'attachment; filename="{plain}"'
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(filename, safe='', errors='replace')}"


def media_problem(head: Request) -> Response | None:
    """A 415 where the body is not declared as JSON in UTF-8 and as it is, else None."""
    media_type, _, parameters = head.headers.get("content-type", "").partition(";")
    media_type = media_type.strip().lower()
    is_json = media_type == "application/json" or (
        media_type.startswith("application/") and media_type.endswith("+json")
    )
    charset = next((value for name, value in _parameters(parameters) if name == "charset"), "utf-8")
    if not is_json or charset not in ("utf-8", "utf8", "us-ascii"):
        detail = "Content-Type must be application/json in UTF-8."
        return error_response(415, "unsupported_media_type", detail, headers=[("Accept", "application/json")])
    if head.headers.get("content-encoding", "identity").strip().lower() not in ("", "identity"):
        return error_response(415, "unsupported_encoding", "the body must not be compressed (no Content-Encoding).")
    return None


def _parameters(text: str) -> list[tuple[str, str]]:
    pairs = (part.partition("=") for part in text.split(";"))
    return [(name.strip().lower(), value.strip().strip('"').lower()) for name, _, value in pairs]


def normal_path(path: str) -> str:
    """The path without doubled and trailing slashes: `http://host//mail-proxy/sync/` is what people configure."""
    return re.sub("/{2,}", "/", path).rstrip("/") or "/"
