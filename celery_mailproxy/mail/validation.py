"""From plain arguments to the fields of a `MailMessage`: every check of one mail, in the caller and in the worker."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from email.utils import parsedate_to_datetime
from typing import Any

from ..errors import InvalidMessage, UnsupportedMessage
from .addresses import Mailbox, parse_mailbox, parse_mailboxes
from .attachment import HEADER_NAME, Attachment
from .controls import breaks_lines, has_surrogate, hides_line_break
from .headers import read_text
from .raw import RawMessage, parse_raw

__all__ = ["compose"]

_MAX_ID_LENGTH = 255
_IN_RAW = ("subject", "body", "html_body")
#: What says how the message is built. In `headers` it would contradict the other arguments; a raw message keeps it.
_STRUCTURE = frozenset(
    {"content-type", "content-transfer-encoding", "content-disposition", "content-id", "mime-version"}
)
_MESSAGE_ID = re.compile(r"<[!-;=?-~]+>")
_EMPTY_GROUP = re.compile(r'[^:"<>@,;]*:\s*;')

Headers = dict[str, tuple[str, str]]


def compose(arguments: Mapping[str, Any], *, default_from: str | None) -> dict[str, Any]:
    """The fields of the `MailMessage` that `normalise_arguments`' result describes, `message_id` among them.

    Raises `InvalidMessage` for what is wrong or missing, `UnsupportedMessage` for what the proxy cannot express.
    """
    raw = _raw(arguments)
    headers = _headers(arguments, raw)
    composed: dict[str, Any] = {
        "message_id": _identifier(arguments, "message_id"),
        "server": arguments.get("server", "default"),
        "send_at": arguments.get("send_at"),
        "expires_at": _expires_at(arguments),
        "raw": arguments.get("raw"),
        "body": _body(arguments, "body"),
        "html_body": _body(arguments, "html_body"),
        "subject": _subject(arguments, headers),
        "attachments": _attachments(arguments),
    }
    composed |= {"metadata": arguments.get("metadata", {}), "tags": tuple(arguments.get("tags", ()))}
    for name in ("account_id", "tenant_id", "batch_code"):
        if name in arguments:
            composed[name] = _identifier(arguments, name)
    composed.update(_senders(arguments, headers, raw, default_from))
    composed["reply_to"] = _reply_to(arguments, headers, raw)
    composed.update(_recipients(arguments, headers, raw))
    composed["headers"] = tuple(headers.values())
    return composed


def _expires_at(arguments: Mapping[str, Any]) -> int | None:
    expires_at: int | None = arguments.get("expires_at")
    send_at: int | None = arguments.get("send_at")
    if expires_at is not None and send_at is not None and expires_at <= send_at:
        raise InvalidMessage("expires_at", f"must be later than send_at, {send_at}, got {expires_at}")
    return expires_at


def _raw(arguments: Mapping[str, Any]) -> RawMessage | None:
    if "raw" not in arguments:
        return None
    for name in _IN_RAW:
        if arguments.get(name):
            raise InvalidMessage(name, "must not be given beside raw, which holds it: change the message itself")
    raw = parse_raw(arguments["raw"])
    if arguments.get("attachments") and (raw.header("Content-Type") or "").lower().startswith("multipart/mixed"):
        raise UnsupportedMessage(
            "attachments", "must not be given beside a raw multipart/mixed: the proxy adds them to what is none"
        )
    return raw


def _identifier(arguments: Mapping[str, Any], name: str) -> str:
    value = str(arguments[name])
    if not 1 <= len(value) <= _MAX_ID_LENGTH or not value.isprintable() or value != value.strip():
        raise InvalidMessage(name, f"must be 1 to {_MAX_ID_LENGTH} visible characters, got {value!r}")
    if hides_line_break(value):
        # Some releases of the proxy make a header of it.
        raise InvalidMessage(name, f"must hold no control character, not even an encoded one, got {value!r}")
    return value


def _body(arguments: Mapping[str, Any], name: str) -> str | None:
    value: str | None = arguments.get(name)
    if value is not None and has_surrogate(value):
        raise InvalidMessage(name, "must be text without lone surrogates: decode it with the right charset first")
    return value


def _attachments(arguments: Mapping[str, Any]) -> tuple[Attachment, ...]:
    found = []
    for index, plain in enumerate(arguments.get("attachments", ())):
        try:
            found.append(Attachment.from_json(plain))
        except InvalidMessage as exc:
            raise type(exc)(f"attachments[{index}]", exc.problem) from exc
    return tuple(found)


def _headers(arguments: Mapping[str, Any], raw: RawMessage | None) -> Headers:
    """By lower-case name: the name as given, and the value, decoded except where it holds addresses."""
    headers: Headers = {}
    if raw is not None:
        for name, value in raw.headers.items():
            if name.lower().startswith("content-") or name.lower() == "mime-version":
                _check_structure(name, value)
            else:
                headers[name.lower()] = (name, _value(f"raw[{name!r}]", name, value))
    given: set[str] = set()
    for name, value in arguments.get("headers", {}).items():
        argument = f"headers[{name!r}]"
        _check_name(argument, name, given)
        headers[name.lower()] = (name, _value(argument, name, value))
    return headers


def _check_name(argument: str, name: str, given: set[str]) -> None:
    lower = name.lower()
    if not HEADER_NAME.fullmatch(name):
        raise InvalidMessage(argument, f"must have a name of printable ASCII characters without colon, got {name!r}")
    if lower in given:
        raise InvalidMessage(argument, f"must stand in headers once, in whatever case, got {name!r}")
    if lower in _STRUCTURE:
        raise InvalidMessage(argument, f"must not be set: body, html_body and attachments decide it, got {name!r}")
    if lower == "bcc":
        raise InvalidMessage(argument, "must not be set: give the addresses as bcc")
    given.add(lower)


def _check_structure(name: str, value: str) -> None:
    """Of a raw message, these headers stay as they are: the proxy decodes them, and writes them anew."""
    if hides_line_break(value) or breaks_lines(name, value):
        raise InvalidMessage(f"raw[{name!r}]", f"must hold no line break, not even an encoded one, got {value!r}")
    _decoded(f"raw[{name!r}]", value)


def _value(argument: str, name: str, value: str) -> str:
    lower = name.lower()
    if lower in ("resent-date", "resent-bcc"):
        raise UnsupportedMessage(
            argument, "must not be set: it makes genro-mail-proxy take the recipients from the Resent headers"
        )
    value = value.strip(" \t")
    if hides_line_break(value):
        raise InvalidMessage(
            argument, f"must hold no line break or other control character, not even an encoded one, got {value!r}"
        )
    decoded = _decoded(argument, value)
    if argument.startswith("headers"):
        # A message that exists has the ones it has; new ones are made well.
        _check_syntax(argument, lower, value)
    if lower in ("from", "to", "cc", "bcc", "reply-to"):
        return value
    if lower in ("sender", "resent-sender"):
        return str(parse_mailbox(argument, value))
    if lower in ("resent-from", "resent-to", "resent-cc"):
        return ", ".join(map(str, parse_mailboxes(argument, value)))
    return decoded.strip(" \t")


def _decoded(argument: str, value: str) -> str:
    try:
        decoded = read_text(value) if "=?" in value else value
        is_text = not has_surrogate(value) and not has_surrogate(decoded)
    except UnicodeError:
        is_text = False
    if not is_text:
        raise InvalidMessage(argument, f"must be text that can be decoded, got {value!r}")
    return decoded


def _check_syntax(argument: str, lower: str, value: str) -> None:
    if lower == "message-id" and not _MESSAGE_ID.fullmatch(value):
        raise InvalidMessage(argument, f"must be an id in angle brackets, like <id@example.com>, got {value!r}")
    if lower == "date":
        try:
            parsedate_to_datetime(value)
        except (IndexError, OverflowError, TypeError, ValueError) as exc:
            problem = f"must be a date like Fri, 31 Jan 2030 09:00:00 +0100, got {value!r}"
            raise InvalidMessage(argument, problem) from exc


def _subject(arguments: Mapping[str, Any], headers: Headers) -> str:
    _, in_header = headers.pop("subject", ("", None))
    if "subject" not in arguments:
        return in_header or ""
    subject = _value("subject", "Subject", arguments["subject"])
    if in_header not in (None, subject):
        raise InvalidMessage("headers['Subject']", f"must be left out: subject says something else, got {in_header!r}")
    return subject


def _senders(
    arguments: Mapping[str, Any], headers: Headers, raw: RawMessage | None, default_from: str | None
) -> dict[str, Any]:
    """`from_email` and `return_path`. A From header is what is seen: then `from_email` is the envelope's sender."""
    given: str | None = arguments.get("from_email")
    _, visible = headers.pop("from", ("", None))
    source = visible or given or default_from
    if not source:
        raise InvalidMessage("from_email", "must be given, or set once for all emails: mail_proxy_from_email")
    # A message that exists may be from a mailbox of the SMTP server's own, and to one.
    needs_domain = raw is None
    sender = parse_mailbox("headers['From']" if visible else "from_email", source, needs_domain=needs_domain)
    return_path: str | None = arguments.get("return_path")
    if return_path is not None:
        if return_path.strip() in ("", "<>"):
            raise UnsupportedMessage(
                "return_path", f"must be an address: genro-mail-proxy cannot send with none, got {return_path!r}"
            )
        path: str | None = parse_mailbox("return_path", return_path, needs_domain=needs_domain).address
    elif visible and given:
        path = parse_mailbox("from_email", given, needs_domain=needs_domain).address
    else:
        path = None
    return {"from_email": str(sender), "return_path": path}


def _reply_to(arguments: Mapping[str, Any], headers: Headers, raw: RawMessage | None) -> tuple[str, ...]:
    _, in_header = headers.pop("reply-to", ("", None))
    needs_domain = raw is None
    given = _mailboxes("reply_to", arguments.get("reply_to", ()), needs_domain=needs_domain)
    found = parse_mailboxes("headers['Reply-To']", in_header, needs_domain=needs_domain) if in_header else []
    if given and found and raw is None and _keys(given) != _keys(found):
        raise InvalidMessage(
            "headers['Reply-To']", f"must be left out: reply_to says something else, got {in_header!r}"
        )
    return tuple(map(str, given or found))


def _mailboxes(argument: str, texts: Sequence[str], *, needs_domain: bool = True) -> list[Mailbox]:
    """The mailboxes of a list of texts, each of which may hold several; of equal addresses the first."""
    found: dict[str, Mailbox] = {}
    for index, text in enumerate(texts):
        for mailbox in parse_mailboxes(f"{argument}[{index}]", text, needs_domain=needs_domain):
            found.setdefault(mailbox.key, mailbox)
    return list(found.values())


def _keys(mailboxes: Sequence[Mailbox]) -> set[str]:
    return {mailbox.key for mailbox in mailboxes}


def _recipients(arguments: Mapping[str, Any], headers: Headers, raw: RawMessage | None) -> dict[str, tuple[str, ...]]:
    """`to` and `cc` as they are seen, `bcc` for whoever else gets the mail; `envelope` where that does not do.

    As in Django, the arguments say who gets the mail, and To and Cc headers what is seen of it. A raw message's own are
    also who gets it, unless `to` or `cc` say it.
    """
    needs_domain = raw is None
    to, cc, bcc = (_mailboxes(name, arguments.get(name, ()), needs_domain=needs_domain) for name in ("to", "cc", "bcc"))
    seen_to, seen_cc, seen_bcc = (_visible(headers, name, needs_domain) for name in ("to", "cc", "bcc"))
    bcc += seen_bcc or []
    getting = [*to, *cc, *bcc]
    if raw is not None and not (to or cc):
        getting += [*(seen_to or []), *(seen_cc or [])]
    if not getting:
        raise InvalidMessage("to", "must name a recipient, if not in to then in cc or bcc")
    if raw is None:
        to = to if seen_to is None else seen_to
        cc = cc if seen_cc is None else seen_cc
    elif seen_to is not None or seen_cc is not None:
        to, cc = seen_to or [], seen_cc or []
    visible = _keys(to) | _keys(cc)
    # Nobody gets to see a name here.
    unique = {mailbox.key: mailbox.address for mailbox in getting}
    recipients: dict[str, tuple[str, ...]] = {"to": tuple(map(str, to)), "cc": tuple(map(str, cc))}
    if visible <= unique.keys():
        hidden = tuple(address for key, address in unique.items() if key not in visible)
        return {**recipients, "bcc": hidden}
    # genro-mail-proxy sends to whom the fields name; only Resent headers say otherwise.
    if present := [name for name in headers if name.startswith("resent-")]:
        raise UnsupportedMessage(
            f"headers[{headers[present[0]][0]!r}]",
            "must not be set where To or Cc show an address that does not get the email: the Resent headers carry its "
            "envelope",
        )
    return {**recipients, "envelope": tuple(unique.values())}


def _visible(headers: Headers, name: str, needs_domain: bool) -> list[Mailbox] | None:
    _, text = headers.pop(name, ("", None))
    if text is None:
        return None
    # "undisclosed-recipients:;" says that there are none to be seen.
    return (
        []
        if _EMPTY_GROUP.fullmatch(text)
        else _mailboxes(f"headers[{name.title()!r}]", [text], needs_domain=needs_domain)
    )
