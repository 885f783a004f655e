"""Texts that hide a line break from whoever does not decode them, and the places of a mail where one may stand."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable
from email.message import EmailMessage
from email.mime.base import MIMEBase
from typing import Any

from celery_mailproxy.mail.message import Attachment

__all__ = ["FORGED", "HIDDEN", "HIDDEN_PARAMETERS", "PARAMETER_PLACES", "PLACES", "arguments_of", "quoted"]

#: What a reader must never find as a header or a line of its own.
FORGED = "X-Evil"

_LINES = f"a\r\n{FORGED}: 1\r\n\r\nforged"


def quoted(text: str, charset: str = "utf-8") -> str:
    """The text as one encoded word (RFC 2047), every character of it encoded."""
    return f"=?{charset}?q?{''.join(f'={byte:02x}' for byte in text.encode(charset))}?="


def _base64(text: str, charset: str = "utf-8") -> str:
    return f"=?{charset}?b?{b64encode(text.encode(charset)).decode()}?="


#: What stands for the line break → the text.
HIDDEN: dict[str, str] = {
    "as in the wild": "=?utf-8?q?a=0d=0aX-Evil:_1=0d=0a=0d=0aforged?=",
    "all quoted": quoted(_LINES),
    "base64": _base64(_LINES),
    "upper case": quoted(_LINES).upper().replace("X-EVIL", FORGED),
    "a line feed alone": quoted(f"a\n{FORGED}: 1"),
    "a carriage return alone": quoted(f"a\r{FORGED}: 1"),
    "a vertical tab": quoted(f"a\v{FORGED}: 1"),
    "a form feed": quoted(f"a\f{FORGED}: 1"),
    "a file separator": quoted(f"a\x1c{FORGED}: 1"),
    "a NUL": quoted(f"a\0{FORGED}: 1"),
    "in two words": f"{quoted('a')} {quoted(_LINES)}",
    "behind text": f"Hello {quoted(_LINES)}",
    "within a word": f"Hello{quoted(_LINES)}world",
    "with a language": quoted(_LINES).replace("utf-8", "utf-8*en"),
    "utf-7": "=?utf-7?q?a+AA0ACg-X-Evil:_1?=",
    "utf-16": _base64(_LINES, "utf-16-be"),
    "latin-1": quoted(_LINES, "latin-1"),
    "encoded twice": quoted(quoted(_LINES)),
    "encoded twice, as base64": _base64(_base64(_LINES)),
    "encoded three times": _base64(quoted(_base64(_LINES))),
}


#: Parameters of a header in the notation of RFC 2231 that hide the same.
HIDDEN_PARAMETERS: dict[str, str] = {
    "percent": "filename*=utf-8''a%0d%0aX-Evil:%201",
    "a vertical tab": "filename*=utf-8''a%0bX-Evil:%201",
    "a language": "filename*=utf-8'en'a%0d%0aX-Evil:%201",
    "in pieces": "filename*0*=utf-8''a%0d; filename*1*=%0aX-Evil:%201",
    "another charset": "filename*=utf-7''a%2BAA0ACg-X-Evil:%201",
    "another charset, in pieces": "filename*0*=utf-7''a; filename*1*=%2BAA0ACg-X-Evil:%201",
    "a quoted piece": f'filename*0="{quoted(_LINES)}"; filename*1="b"',
    "a long one": f"filename*=utf-8''{'a' * 120}%0d%0aX-Evil:%201",
}


def _part(name: str, value: str) -> MIMEBase:
    part = MIMEBase("text", "plain")
    part[name] = value
    part.set_payload("content")
    return part


def _message(name: str, value: str) -> bytes:
    return f"From: a@example.com\nTo: b@example.com\n{name}: {value}\n\nBody\n".encode()


def _raw_part(name: str, value: str, *, body: str = "Body") -> str:
    return (
        "From: a@example.com\nTo: b@example.com\nSubject: S\nMIME-Version: 1.0\n"
        'Content-Type: multipart/mixed; boundary="=_b"\n\n'
        f"--=_b\nContent-Type: text/plain\n{name}: {value}\n\n{body}\n--=_b--\n"
    )


def _file(**fields: Any) -> dict[str, Any]:
    return {"attachments": [Attachment.from_json({"filename": "a.txt", "content": b"content", **fields})]}


def _attached(content: bytes) -> dict[str, Any]:
    return {"attachments": [Attachment(filename="m.eml", content=content, mime_type="message/rfc822")]}


def _fetched(**fields: Any) -> dict[str, Any]:
    """Beside an attachment that the proxy fetches, it builds the others itself."""
    reference = Attachment.from_url("http://127.0.0.1:1/a", filename="a")
    return {"attachments": [reference, *_file(**fields)["attachments"]]}


def _long(text: str) -> str:
    """So long that the header has to be folded anew."""
    return f"{'word ' * 20}{text}"


def _email_message(**own: str) -> EmailMessage:
    message = EmailMessage()
    message["From"], message["To"] = "a@example.com", "b@example.com"
    for name, value in own.items():
        message[name] = value
    message.set_content("Body")
    return message


def _with_file(filename: str, **own: str) -> EmailMessage:
    message = _email_message()
    headers = [f"{name}: {value}" for name, value in own.items()]
    message.add_attachment(b"content", "application", "pdf", filename=filename, headers=headers)
    return message


#: Place → the arguments of `send_via_proxy` with a text in that place.
PLACES: dict[str, Callable[[str], dict[str, Any]]] = {
    "subject": lambda text: {"subject": text},
    "a header": lambda text: {"headers": {"X-Note": text}},
    "a header that is never encoded": lambda text: {"headers": {"List-Id": text}},
    "the name of the sender": lambda text: {"from_email": f"{text} <a@example.com>"},
    "the quoted name of the sender": lambda text: {"from_email": f'"{text}" <a@example.com>'},
    "the name of a recipient": lambda text: {"to": [f"{text} <b@example.com>"]},
    "the quoted name of a recipient": lambda text: {"to": [f'"{text}" <b@example.com>']},
    "the name of a copy": lambda text: {"cc": [f"{text} <c@example.com>"]},
    "the name of a blind copy": lambda text: {"bcc": [f'"{text}" <c@example.com>']},
    "the name to reply to": lambda text: {"reply_to": [f'"{text}" <c@example.com>']},
    "a Sender header": lambda text: {"headers": {"Sender": f'"{text}" <c@example.com>'}},
    "a visible To": lambda text: {"headers": {"To": f'"{text}" <c@example.com>'}},
    "a mailbox": lambda text: {"to": [f'"{text}"@example.com']},
    "the return path": lambda text: {"return_path": f'"{text}"@example.com'},
    "the message id": lambda text: {"message_id": text},
    "the Message-ID": lambda text: {"headers": {"Message-ID": f"<{text.replace(' ', '')}@example.com>"}},
    "the tenant": lambda text: {"tenant_id": text},
    "the account": lambda text: {"account_id": text},
    "the batch": lambda text: {"batch_code": text},
    "an attachment's header": lambda text: _file(headers={"X-Note": text}),
    "an attachment's long header": lambda text: _file(headers={"Content-Description": _long(text)}),
    "a filename": lambda text: _file(filename=text),
    "a long filename": lambda text: _file(filename=_long(text)),
    "a content id": lambda text: {**_file(content_id=text.replace(" ", "")), "html_body": "<p>B</p>"},
    "a parameter of a media type": lambda text: _file(mime_type=f'text/calendar; method="{text}"'),
    "a filename beside a reference": lambda text: _fetched(filename=text),
    "a media type beside a reference": lambda text: _fetched(mime_type=f'text/calendar; method="{text}"'),
    "the filename of a reference": lambda text: {
        "attachments": [Attachment.from_url("http://127.0.0.1:1/a", filename=text)]
    },
    "a ready-made part": lambda text: {"attachments": [_part("X-Note", text)]},
    "a ready-made part's long header": lambda text: {"attachments": [_part("X-Note", _long(text))]},
    "a ready-made part's filename": lambda text: {
        "attachments": [_part("Content-Disposition", f'attachment; filename="{text}"')]
    },
    "a ready-made part's long filename": lambda text: {
        "attachments": [_part("Content-Disposition", f'attachment; filename="{_long(text)}"')]
    },
    "an attached message's subject": lambda text: _attached(_message("Subject", text)),
    "an attached message's long subject": lambda text: _attached(_message("Subject", _long(text))),
    "an attached message's sender": lambda text: _attached(_message("Sender", f'"{_long(text)}" <c@example.com>')),
    "a raw message's subject": lambda text: {"raw": _message("Subject", text)},
    "a raw message's header": lambda text: {"raw": _message("X-Note", text)},
    "a raw message's sender": lambda text: {"raw": _message("Sender", f'"{text}" <c@example.com>')},
    "a raw message's own media type": lambda text: {"raw": _message("Content-Type", f'text/plain; name="{text}"')},
    "a raw message's own disposition": lambda text: {
        "raw": _message("Content-Disposition", f'inline; filename="{text}"')
    },
    "a raw message's own description": lambda text: {"raw": _message("Content-Description", text)},
    "a raw part's header": lambda text: {"raw": _raw_part("X-Note", text)},
    "a raw part's long header": lambda text: {"raw": _raw_part("X-Note", _long(text))},
    "a raw part's header beside eight bits": lambda text: {"raw": _raw_part("X-Note", text, body="Größe")},
    "a raw part's filename": lambda text: {"raw": _raw_part("Content-Disposition", f'inline; filename="{text}"')},
    "a raw part's filename beside eight bits": lambda text: {
        "raw": _raw_part("Content-Disposition", f'inline; filename="{text}"', body="Größe")
    },
    "an email message's subject": lambda text: {"raw": _email_message(Subject=text)},
    "an email message's header": lambda text: {"raw": _email_message(Note=text)},
    "an email message's part": lambda text: {"raw": _with_file("a.pdf", Note=text)},
    "an email message's filename": lambda text: {"raw": _with_file(text)},
    "an attached email message's subject": lambda text: {"attachments": [_email_message(Subject=text)]},
    "an attached email message's filename": lambda text: {"attachments": [_with_file(text)]},
}

#: The same for a parameter as a whole.
PARAMETER_PLACES: dict[str, Callable[[str], dict[str, Any]]] = {
    "the parameters of a media type": lambda text: _file(mime_type=f"text/calendar; {text}"),
    "the parameters beside a reference": lambda text: _fetched(mime_type=f"text/calendar; {text}"),
    "the parameters of a ready-made part": lambda text: {
        "attachments": [_part("Content-Disposition", f"attachment; {text}")]
    },
    "the parameters of a raw message's own media type": lambda text: {
        "raw": _message("Content-Type", f"text/plain; {text}")
    },
    "the parameters of a raw message's own disposition": lambda text: {
        "raw": _message("Content-Disposition", f"inline; {text}")
    },
    "the parameters of a raw part": lambda text: {"raw": _raw_part("Content-Disposition", f"inline; {text}")},
    "the parameters of a raw part beside eight bits": lambda text: {
        "raw": _raw_part("Content-Disposition", f"inline; {text}", body="Größe")
    },
}


def arguments_of(place: str, text: str) -> dict[str, Any]:
    """All the arguments of a mail with the text in that place of `PLACES` or `PARAMETER_PLACES`."""
    arguments = {**PARAMETER_PLACES, **PLACES}[place](text)
    if "raw" in arguments:
        return arguments
    return {"subject": "S", "body": "B", "from_email": "a@example.com", "to": ["b@example.com"], **arguments}
