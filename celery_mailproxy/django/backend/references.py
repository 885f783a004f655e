"""`separate`: a mail as a smaller one and files that the proxy adds to it, where the same mail comes of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from email import message_from_string, policy
from email.generator import Generator
from email.message import Message
from io import StringIO
from typing import Any, cast

from ...errors import InvalidMessage
from ...mail.attachment import Attachment

__all__ = ["SeparateFile", "separate"]

_FILE_HEADERS = frozenset({"content-type", "content-transfer-encoding", "content-disposition", "mime-version"})
_BODY_HEADERS = frozenset({"content-type", "content-transfer-encoding", "mime-version"})


@dataclass(frozen=True, slots=True, kw_only=True)
class SeparateFile:
    """An attachment that is the `part`-th child of its mail, counted from 0."""

    part: int
    filename: str
    mime_type: str

    def attachment(self, reference: Callable[[int], str]) -> dict[str, Any]:
        """As an attachment that the proxy fetches by `reference(part)`."""
        return Attachment.from_endpoint(
            reference(self.part), filename=self.filename, mime_type=self.mime_type
        ).to_json()


def separate(source: str) -> tuple[str, tuple[SeparateFile, ...]] | None:
    """The mail without its attachments, and those; None where the proxy could not make the same mail of them.

    It can of a multipart/mixed whose first part is the text (of whatever structure but another multipart/mixed), and
    whose others are plain files: each with a name, content, and no header or parameter that the proxy does not write.
    Filenames that the proxy does not accept are left for `payload.encode` to find.
    """
    message = message_from_string(source, policy=policy.compat32)
    if message.get_content_type() != "multipart/mixed" or not message.is_multipart():
        return None
    body, *rest = cast("list[Message]", message.get_payload())
    if not rest or not _is_body(body):
        return None
    files = [_file(index, part) for index, part in enumerate(rest, start=1)]
    if None in files:
        return None
    headers = [(name, value) for name, value in message.raw_items() if name.lower() not in _FILE_HEADERS]
    if any(name.lower().startswith("content-") for name, _ in headers):
        # The proxy would make them the text's.
        return None
    return "".join(f"{name}: {value}\n" for name, value in headers) + _text(body), tuple(file for file in files if file)


def _is_body(part: Message) -> bool:
    names = {name.lower() for name in part.keys()}  # noqa: SIM118 - a Message iterates over its body's lines
    return "content-type" in names and names <= _BODY_HEADERS and part.get_content_type() != "multipart/mixed"


def _file(index: int, part: Message) -> SeparateFile | None:
    names = {name.lower() for name in part.keys()}  # noqa: SIM118
    if part.is_multipart() or part.get_content_maintype() in ("message", "multipart") or not names <= _FILE_HEADERS:
        return None
    if part.get_content_disposition() != "attachment" or _parameters(part, "Content-Disposition") != {"filename"}:
        return None
    filename = part.get_filename() or ""
    if "=?" in filename or not _parameters(part, "Content-Type") <= {"charset"} or not part.get_payload(decode=True):
        return None
    charset = part.get_content_charset()
    mime_type = part.get_content_type() + (f"; charset={charset}" if charset else "")
    try:
        # As it will be checked where it is sent.
        Attachment.from_endpoint("x", filename=filename, mime_type=mime_type)
    except InvalidMessage:
        return None
    return SeparateFile(part=index, filename=filename, mime_type=mime_type)


def _parameters(part: Message, header: str) -> set[str]:
    return {name.lower() for name, _ in (part.get_params(header=header) or [])[1:]}


def _text(part: Message) -> str:
    text = StringIO()
    Generator(text, mangle_from_=False, maxheaderlen=0).flatten(part)
    return text.getvalue()
