"""Arbitrary mails through arguments, JSON, `encode` and the real proxy's builder: the same mail comes out."""

from __future__ import annotations

import json
from dataclasses import dataclass
from email import policy
from email.message import EmailMessage
from typing import Any, Literal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from celery_mailproxy.mail.arguments import normalise_arguments
from celery_mailproxy.mail.message import Attachment, MailMessage
from celery_mailproxy.mail.payload import encode
from celery_mailproxy.tasks.sending.outgoing import Outgoing
from celery_mailproxy.tasks.sending.per_recipient import distribute

from ...harness import read_mail
from ...harness.proxy_builder import BuiltMail, ProxyBuilder

pytestmark = [pytest.mark.integration, pytest.mark.long(65), pytest.mark.full_with("commands")]

checked = settings(
    max_examples=80, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow], database=None
)


# --------------------------------------------------------------------------- strategies

LETTERS = st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"])
WORDS = st.sampled_from(
    'Über die Größe Пожалуйста подтвердите 日本語のテスト naïve <b>&amp; a,b;c (x) "q" it\'s 😀 é x = ? . @'.split()  # noqa: SIM905
) | st.text(st.sampled_from("aé日-"), min_size=1, max_size=60)
HEADER_TEXT = (
    st.lists(WORDS, max_size=25).map(" ".join) | st.text(LETTERS | st.sampled_from("\x85\u2028\u2029"), max_size=120)
).map(lambda text: " ".join(text.replace("=?", "= ?").split(" ")).strip(" \t"))
NAMES = (st.lists(WORDS, max_size=4).map(" ".join) | st.text(LETTERS, max_size=30)).map(
    lambda text: " ".join(text.replace("=?", "= ?").split())
)
DOMAINS = st.sampled_from(["example.com", "sub.example.org", "äöü.com", "straße.de", "例え.jp", "xn--4ca0bs.com"])
LOCALS = st.from_regex(r"[a-z0-9_+-]{1,12}(\.[a-z0-9]{1,5})?", fullmatch=True)
BODIES = st.text(st.characters(exclude_categories=["Cs"]), max_size=300) | st.lists(
    st.text(st.sampled_from("aé \t.=日-"), max_size=200) | st.just("x" * 2000) | st.just("From here"), max_size=6
).map("\n".join)


@dataclass(frozen=True)
class Person:
    name: str
    local: str
    domain: str

    @property
    def text(self) -> str:
        name = self.name.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{name}" <{self.local}@{self.domain}>' if self.name else f"{self.local}@{self.domain}"

    @property
    def read(self) -> tuple[str, str]:
        ascii_domain = {"äöü.com": "xn--4ca0bs.com", "straße.de": "xn--strae-oqa.de", "例え.jp": "xn--r8jz45g.jp"}
        return (self.name, f"{self.local}@{ascii_domain.get(self.domain, self.domain)}")


PERSONS = st.builds(Person, NAMES, LOCALS, DOMAINS)
PEOPLE = st.lists(PERSONS, max_size=4, unique_by=lambda person: person.read[1])
FILENAMES = st.text(LETTERS, min_size=1, max_size=120).map(str.strip).filter(bool) | st.sampled_from(
    ["r\"é'%;.pdf", "x" * 200 + ".pdf", "日本" * 60, "a\\b.txt", "naïve file.txt", "a*b'c%d.txt"]
)
MIME_TYPES = st.sampled_from(["application/pdf", "image/png", "text/csv", "text/calendar; method=REQUEST", "audio/ogg"])
CONTENT_IDS = st.text(st.sampled_from("abc019.@-_$"), min_size=1, max_size=60)
PART_HEADERS = st.dictionaries(
    st.sampled_from(["X-Part", "Content-Description", "Content-Location"]), HEADER_TEXT.filter(bool), max_size=2
).map(lambda headers: tuple(headers.items()))
FILES = st.builds(
    Attachment, filename=FILENAMES, content=st.binary(max_size=300), mime_type=MIME_TYPES, headers=PART_HEADERS
)
IMAGES = st.builds(
    Attachment,
    filename=st.none() | FILENAMES,
    content=st.binary(max_size=100),
    mime_type=st.just("image/png"),
    content_id=CONTENT_IDS,
)
EXTRA_HEADERS = st.dictionaries(st.sampled_from(["X-Campaign", "X-Long", "Organization"]), HEADER_TEXT, max_size=3)


@st.composite
def email_messages(draw: st.DrawFn, depth: int = 1) -> EmailMessage:
    """A message as an application puts it together with the standard library."""
    message = EmailMessage(policy=policy.default.clone(cte_type=draw(st.sampled_from(["7bit", "8bit"]))))
    # Nothing exotic here: the standard library writes long names and international domains with errors of its own.
    names = st.sampled_from(["", "Ann", "Doe, Jané", "Müller", "日本 太郎", "x" * 60])
    people = st.lists(
        st.builds(Person, names, LOCALS, st.just("example.com")), max_size=3, unique_by=lambda one: one.local
    )
    for name in ("From", "To", "Cc"):
        drawn = draw(people)
        alone = name == "From" or not all(person.name.isascii() for person in drawn)
        if drawn := drawn[: 1 if alone else 3]:
            message[name] = ", ".join(person.text for person in drawn)
    # Wide characters in a header are the standard library's to fold, and it has errors of its own there.
    message["Subject"] = draw(st.sampled_from(["", "Hello", "Grüße", "x" * 70, "word " * 40]))
    message["X-Long"] = draw(st.sampled_from(["short", "long words " * 30]))
    message.set_content(draw(BODIES.filter(lambda text: "\x00" not in text)))
    if draw(st.booleans()):
        message.add_alternative(draw(BODIES), subtype="html")
        if draw(st.booleans()):
            html = read_mail.part_at(message, 1)
            html.add_related(draw(st.binary(max_size=50)), "image", "png", cid="<logo@x>")
    for content in draw(st.lists(st.binary(max_size=100), max_size=2)):
        message.add_attachment(content, maintype="application", subtype="pdf", filename=draw(FILENAMES))
    if depth and draw(st.booleans()):
        message.add_attachment(draw(email_messages(depth=depth - 1)))
    return message


# --------------------------------------------------------------------------- the way of a mail


def send(builder: ProxyBuilder, arguments: dict[str, Any], cte_type: Literal["7bit", "8bit"] = "8bit") -> BuiltMail:
    plain = json.loads(json.dumps(normalise_arguments(arguments)))
    assert normalise_arguments(plain) == plain
    message = MailMessage.from_arguments(plain, message_id="m1")
    assert MailMessage.from_json(json.loads(json.dumps(message.to_json()))) == message
    payload = {"tenant_id": "t1", "account_id": "a1", **encode(message)}
    return builder.build(json.loads(json.dumps(payload)), cte_type=cte_type)


def text_tree(text: str | None, subtype: str) -> Any:
    return (f"text/{subtype}", {}, None, None, {}, read_mail.normal_text(text or ""))


def attachment_tree(attachment: Attachment) -> Any:
    kind, _, parameter = str(attachment.mime_type).partition("; ")
    own = {name.lower(): value for name, value in attachment.headers if name.lower().startswith("content-")}
    if attachment.content_id:
        own["content-id"] = f"<{attachment.content_id}>"
    content: Any = attachment.content
    return (
        kind,
        dict([parameter.split("=")]) if parameter else {},
        attachment.disposition,
        attachment.filename,
        own,
        content,
    )


def expected_tree(text: str | None, html: str | None, files: list[Attachment], images: list[Attachment]) -> Any:
    if html is None:
        body, files = text_tree(text, "plain"), files + images
    else:
        body = text_tree(html, "html")
        if images:
            body = ("multipart/related", {"type": "text/html"}, None, None, {}, [body, *map(attachment_tree, images)])
        if text is not None:
            body = ("multipart/alternative", {}, None, None, {}, [text_tree(text, "plain"), body])
    return ("multipart/mixed", {}, None, None, {}, [body, *map(attachment_tree, files)]) if files else body


CTE_TYPES = st.sampled_from(["7bit", "8bit"])


@checked
@given(
    sender=PERSONS,
    to=PEOPLE,
    cc=PEOPLE,
    bcc=PEOPLE,
    reply_to=PEOPLE,
    subject=HEADER_TEXT,
    headers=EXTRA_HEADERS,
    cte_type=CTE_TYPES,
)
def test_headers_and_envelope_arrive(
    builder: ProxyBuilder,
    sender: Person,
    to: list[Person],
    cc: list[Person],
    bcc: list[Person],
    reply_to: list[Person],
    subject: str,
    headers: dict[str, str],
    cte_type: Literal["7bit", "8bit"],
) -> None:
    if not (to or cc or bcc):
        to = [sender]
    lists = {"to": to, "cc": cc, "bcc": bcc, "reply_to": reply_to}
    arguments: dict[str, Any] = {name: [person.text for person in people] for name, people in lists.items()}
    built = send(builder, {**arguments, "from_email": sender.text, "subject": subject, "headers": headers}, cte_type)

    mail = read_mail.parse(built.data)
    assert read_mail.addresses(mail, "From") == [sender.read]
    assert read_mail.addresses(mail, "To") == [person.read for person in to]
    assert read_mail.addresses(mail, "Cc") == [person.read for person in cc]
    assert read_mail.addresses(mail, "Reply-To") == [person.read for person in reply_to]
    assert "Bcc" not in mail
    assert {name: read_mail.header(mail, name) for name in headers} == headers
    assert read_mail.header(mail, "Subject") == subject
    assert mail["Date"]
    assert mail["Message-ID"] == f"<m1@{sender.read[1].partition('@')[2]}>"
    assert built.sender == sender.read[1]
    assert set(built.recipients) == {person.read[1] for person in to + cc + bcc}
    assert max(map(len, built.data.split(b"\r\n"))) <= 998


@checked
@given(sender=PERSONS, to=PEOPLE, cc=PEOPLE, bcc=PEOPLE, cte_type=CTE_TYPES)
def test_each_recipient_gets_the_mail_that_all_get(
    builder: ProxyBuilder,
    sender: Person,
    to: list[Person],
    cc: list[Person],
    bcc: list[Person],
    cte_type: Literal["7bit", "8bit"],
) -> None:
    to = to or [sender]
    lists = {"to": to, "cc": cc, "bcc": bcc}
    arguments: dict[str, Any] = {name: [person.text for person in people] for name, people in lists.items()}
    message = MailMessage.from_arguments({**arguments, "from_email": sender.text, "body": "B"}, message_id="m1")
    parent, members = distribute(Outgoing(message=message))
    assert set(parent.members) == {person.read[1] for person in to + cc + bcc}
    for address, member in list(zip(parent.members, members, strict=True))[:3]:
        assert MailMessage.from_json(json.loads(json.dumps(member.message.to_json()))) == member.message
        payload = {"tenant_id": "t1", "account_id": "a1", **encode(member.message)}
        built = builder.build(json.loads(json.dumps(payload)), cte_type=cte_type)
        mail = read_mail.parse(built.data)
        assert built.recipients == (address,)
        assert built.sender == sender.read[1]
        assert read_mail.addresses(mail, "From") == [sender.read]
        assert read_mail.addresses(mail, "To") == [person.read for person in to]
        assert read_mail.addresses(mail, "Cc") == [person.read for person in cc]
        assert mail["Message-ID"] == f"<m1@{sender.read[1].partition('@')[2]}>"
        assert not {"bcc", "resent-bcc", "resent-to"} & {name.lower() for name in mail}


@checked
@given(
    text=st.none() | BODIES,
    html=st.none() | BODIES,
    files=st.lists(FILES, max_size=5),
    images=st.lists(IMAGES, max_size=2),
    cte_type=CTE_TYPES,
)
def test_texts_and_attachments_arrive(
    builder: ProxyBuilder,
    text: str | None,
    html: str | None,
    files: list[Attachment],
    images: list[Attachment],
    cte_type: Literal["7bit", "8bit"],
) -> None:
    arguments = {"body": text, "html_body": html, "attachments": [*files, *images]}
    built = send(builder, {**arguments, "from_email": "a@example.com", "to": "b@example.com"}, cte_type)

    mail = read_mail.parse(built.data)
    assert read_mail.tree(mail) == expected_tree(text, html, files, images)
    if files:
        assert read_mail.header(read_mail.part_at(mail, 1), "X-Part") == dict(files[0].headers).get("X-Part")


@checked
@given(message=email_messages(), form=st.sampled_from(["object", "bytes", "smtp bytes", "text"]), cte_type=CTE_TYPES)
def test_raw_message_arrives(
    builder: ProxyBuilder, message: EmailMessage, form: str, cte_type: Literal["7bit", "8bit"]
) -> None:
    forms: dict[str, Any] = {
        "object": message,
        "bytes": message.as_bytes(),
        "smtp bytes": message.as_bytes(policy=policy.SMTP),
        "text": message.as_bytes(policy=message.policy.clone(cte_type="7bit")).decode("ascii"),
    }
    to = read_mail.addresses(message, "To") + read_mail.addresses(message, "Cc")
    arguments = {"raw": forms[form], "from_email": "bounces@example.com", "bcc": ["hidden@example.com"]}
    built = send(builder, arguments, cte_type)

    mail = read_mail.parse(built.data)
    given_mail = message if form == "object" else read_mail.parse(message.as_bytes())
    assert read_mail.tree(mail) == read_mail.tree(given_mail)
    for name in ("Subject", "X-Long"):
        assert read_mail.header(mail, name) == read_mail.header(given_mail, name)
    for name in ("To", "Cc"):
        assert read_mail.addresses(mail, name) == read_mail.addresses(given_mail, name)
    assert set(built.recipients) == {address for _, address in to} | {"hidden@example.com"}
    assert built.sender == "bounces@example.com"


@checked
@given(
    text=st.none() | BODIES,
    html=st.none() | BODIES,
    images=st.lists(IMAGES, max_size=1),
    filename=FILENAMES,
    content=st.binary(min_size=1, max_size=50),
    more=st.lists(st.binary(min_size=1, max_size=50), max_size=2),
)
def test_reference_is_fetched_beside_everything_else(
    builder: ProxyBuilder,
    tmp_path_factory: pytest.TempPathFactory,
    text: str | None,
    html: str | None,
    images: list[Attachment],
    filename: str,
    content: bytes,
    more: list[bytes],
) -> None:
    stored = tmp_path_factory.mktemp("stored", numbered=True) / "file"
    stored.write_bytes(content)
    images = images if html is not None else []
    reference = Attachment.from_proxy_disk(str(stored), filename=filename, mime_type="image/png")
    files = [Attachment(filename=f"{index}.pdf", content=data) for index, data in enumerate(more)]
    arguments = {"body": text, "html_body": html, "attachments": [*images, *files[:1], reference, *files[1:]]}
    built = send(builder, {**arguments, "from_email": "a@example.com", "to": "b@example.com"})

    fetched = Attachment(filename=filename, content=content, mime_type="image/png")
    tree = read_mail.tree(read_mail.parse(built.data))
    assert tree == expected_tree(text, html, [*files[:1], fetched, *files[1:]], images)
