"""Reading a mail as its recipient does, to compare two of them: decoded, without regard to how they were encoded."""

from __future__ import annotations

import re
from email import message_from_bytes, policy
from email.message import EmailMessage, Message
from email.utils import getaddresses
from typing import Any

__all__ = ["addresses", "header", "normal_text", "parse", "part_at", "tree"]


def parse(data: bytes) -> EmailMessage:
    return message_from_bytes(data, policy=policy.default)


def part_at(message: Message, *places: int) -> EmailMessage:
    """The part at these places in the tree of a parsed mail, from the outside in."""
    part: Any = message
    for place in places:
        part = part.get_payload()[place]
    assert isinstance(part, EmailMessage)
    return part


def header(message: Message, name: str) -> str | None:
    """The text of a header, decoded; of several, the first."""
    value = message.get(name)
    return None if value is None else decode(_source(message, name))


def addresses(message: Message, name: str) -> list[tuple[str, str]]:
    """(display name, address) of each mailbox in a header."""
    if name not in message:
        return []
    pairs = getaddresses([_source(message, name)])
    return [(" ".join(decode(display).split()), address) for display, address in pairs if address]


def decode(value: str) -> str:
    return str(policy.default.header_factory("X-Text", value)).strip(" \t")


def _source(message: Message, name: str) -> str:
    # What stands in the message. The header object of `policy.default` has read it already, names with its own errors.
    source = next(str(value) for key, value in message.raw_items() if key.lower() == name.lower())
    if isinstance(message, EmailMessage):
        assert isinstance(message.policy, policy.EmailPolicy)
        source = message.as_bytes(
            policy=message.policy.clone(refold_source="none", max_line_length=0, utf8=True)
        ).decode("utf-8", "surrogateescape")
        source = source.replace("\r\n", "\n").partition("\n\n")[0]
        source = re.search(rf"^{re.escape(name)}:((?:[^\n]|\n[ \t])*)", source, re.M | re.I)[1]  # type: ignore[index]
    return re.sub(r"\n(?=[ \t])", "", source).strip(" \t")


def normal_text(text: str) -> str:
    """Without the final line end, which every way of building a mail adds, and with one kind of line ends."""
    return re.sub(r"\r\n?", "\n", text).removesuffix("\n")


def tree(part: Message) -> Any:
    """A part as plain values: type, parameters, disposition, filename, other headers of its own, content."""
    kind = part.get_content_type()
    parameters = {key.lower(): str(value) for key, value in (part.get_params() or [])[1:] if key.lower() != "boundary"}
    if parameters.get("charset", "utf-8").lower() in ("us-ascii", "utf-8", "utf8"):
        # ASCII is UTF-8, and so it may be called.
        parameters.pop("charset", None)
    known = ("content-type", "content-transfer-encoding", "content-disposition", "mime-version")
    own = {
        key.lower(): header(part, key)
        for key in part.keys()  # noqa: SIM118
        if key.lower().startswith("content-") and key.lower() not in known
    }
    return (kind, parameters, part.get_content_disposition(), part.get_filename(), own, _content(part, kind))


def _content(part: Message, kind: str) -> Any:
    if part.is_multipart():
        children: Any = part.get_payload()
        if kind == "message/rfc822":
            inner = children[0]
            return _headers(inner), tree(inner)
        return [tree(child) for child in children]
    content: Any = part.get_payload(decode=True)
    if part.get_content_maintype() != "text" or part.get_content_disposition() == "attachment":
        return content
    charset = part.get_content_charset("utf-8")
    return normal_text(content.decode("utf-8" if charset == "us-ascii" else charset, "replace"))


def _headers(message: Message) -> Any:
    names = {key.lower() for key in message.keys()} - {"mime-version"}  # noqa: SIM118
    return {
        name: addresses(message, name) if name in ("from", "to", "cc") else header(message, name)
        for name in names
        if not name.startswith("content-")
    }
