"""`Mailbox`: one mail address with its display name, taken from text by the standard library's parser."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from email import errors as email_errors
from email import policy
from email.headerregistry import Address, AddressHeader
from email.utils import getaddresses
from typing import Any, cast

import idna

from ..errors import InvalidMessage, UnsupportedMessage
from .controls import has_surrogate, hides_line_break
from .headers import read_text

__all__ = ["Mailbox", "address_key", "parse_mailbox", "parse_mailboxes"]

#: The proxy's Python breaks lines at these, too, and then refuses the header.
_LINE_SEPARATOR = re.compile("[\x85\u2028\u2029]")
_ATOMS = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~\- \u00a1-\U0010ffff]+")
_DOMAIN = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?(\.[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?)*")
_LITERAL = re.compile(r"\[[!-Z^-~]+\]")
_DOT_ATOM = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*")
#: RFC 5321, 4.5.3.1.3: a path holds 256 characters, two of which are the angle brackets.
_MAX_LENGTH = 254
_HARMLESS_TEXTS = ("encoded word inside quoted string", "missing trailing whitespace after encoded-word")
_HARMLESS_DEFECTS = (email_errors.ObsoleteHeaderDefect, email_errors.NonASCIILocalPartDefect)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mailbox:
    """A display name (decoded, may be empty) and an address whose domain is ASCII (punycode where it has to be).

    `str()` is the form for a header: `j@x.org`, `Jané Doe <j@x.org>` or `"Doe, Jané" <j@x.org>`.
    """

    name: str
    address: str

    def __str__(self) -> str:
        if not self.name:
            return self.address
        if _ATOMS.fullmatch(self.name) and "=?" not in self.name:
            return f"{self.name} <{self.address}>"
        escaped = re.sub(r'([\\"])', r"\\\1", self.name)
        return f'"{escaped}" <{self.address}>'

    @property
    def key(self) -> str:
        """What two spellings of one address have in common: the domain is compared without case (RFC 5321, 2.4)."""
        local, at, domain = self.address.rpartition("@")
        return f"{local}{at}{domain.lower()}" if at else domain


def address_key(text: str) -> str | None:
    """What every spelling of one address has in common, for the suppression list; None where the text is not one.

    In small letters all of it, its domain in ASCII: `Ann <Ann@Bücher.example>` is `ann@xn--bcher-kva.example`. RFC 5321
    leaves the part before the `@` to the server behind the domain; none worth the name has two mailboxes there that
    differ in case alone.
    """
    try:
        return parse_mailbox("address", text.strip()).address.lower()
    except InvalidMessage:
        return None


def parse_mailbox(argument: str, text: str, *, needs_domain: bool = True) -> Mailbox:
    """The one mailbox in the text, else `InvalidMessage` naming the argument."""
    mailboxes = parse_mailboxes(argument, text, needs_domain=needs_domain)
    if len(mailboxes) > 1:
        # RFC 5322, 3.6.2, allows several, if a Sender says whose the mail is.
        problem = "must be exactly one address: genro-mail-proxy sends from one; name the others in reply_to"
        raise UnsupportedMessage(argument, f"{problem}, got {text!r}")
    if not mailboxes:
        raise InvalidMessage(argument, f"must be exactly one address, got {text!r}")
    return mailboxes[0]


def parse_mailboxes(argument: str, text: str, *, needs_domain: bool = True) -> list[Mailbox]:
    """The mailboxes in a comma-separated text (RFC 5322 `mailbox-list`, names may be non-ASCII).

    Without `needs_domain` a name alone is taken too, such as `webmaster`: a mailbox of the SMTP server's own. Raises
    `InvalidMessage` where one is not an address, `UnsupportedMessage` for a non-ASCII part before the `@`.
    """
    # Whatever is encoded in it: a name within quotes, which the proxy decodes, or a mailbox.
    if hides_line_break(text) or _LINE_SEPARATOR.search(text):
        raise InvalidMessage(argument, f"must hold no line break or other control character, got {text!r}")
    if has_surrogate(text):
        raise InvalidMessage(argument, f"must be text without lone surrogates, got {text!r}")
    # What Python itself writes wrongly: encoded words without the space between them, and encoded commas.
    text = re.sub(r"(?<=>)\s*=\?utf-8\?q\?=2C\?=", ",", text.replace("?==?", "?= =?"))
    header = _parse(argument, text, needs_domain)
    if any(group.display_name is not None for group in header.groups):
        problem = "must list addresses, not a group, to which genro-mail-proxy sends nothing; list its members"
        raise UnsupportedMessage(argument, f"{problem}, got {text!r}")
    names = _names(header, text)
    return [_mailbox(argument, name, address, text) for name, address in zip(names, header.addresses, strict=True)]


def _parse(argument: str, text: str, needs_domain: bool) -> AddressHeader:
    problem = "must be an address like name@example.com or Name <name@example.com>"
    if "," in text or '"' not in text:
        problem += "; a name with a comma or another special character stands in double quotes"
    try:
        header = cast(AddressHeader, policy.default.header_factory("To", text))
        defects = cast(Any, header).defects
        broken = [one for one in defects if not (isinstance(one, _HARMLESS_DEFECTS) or _is_known(one, needs_domain))]
    except Exception as exc:
        # On broken input the standard library's parser raises whatever it stumbles over (IndexError, …).
        raise InvalidMessage(argument, f"{problem}, got {text!r}") from exc
    if broken or not all(one.username and (one.domain or not needs_domain) for one in header.addresses):
        raise InvalidMessage(argument, f"{problem}, got {text!r}")
    return header


def _is_known(defect: Exception, needs_domain: bool) -> bool:
    # Most defects have a class; these have only a text.
    is_local = not needs_domain and "local part with no domain" in str(defect)
    # Python itself writes such names, and every program decodes them.
    return is_local or any(text in str(defect) for text in _HARMLESS_TEXTS)


def _names(header: AddressHeader, text: str) -> list[str]:
    names = [address.display_name for address in header.addresses]
    if text.count("=?") > 1 or "(" in text:
        # The parser puts a space between the encoded words of a long name, where unstructured text has none; and it
        # drops comments, where names may stand: `root@example.com (Cron Daemon)`.
        with suppress(Exception):
            sources = [name for name, address in getaddresses([text]) if address]
            if len(sources) == len(names):
                return [read_text(source) for source in sources]
    return names


def _mailbox(argument: str, name: str, address: Address, text: str) -> Mailbox:
    if hides_line_break(name) or _LINE_SEPARATOR.search(name):
        raise InvalidMessage(argument, f"must hold no line break in the display name, got {text!r}")
    if has_surrogate(name + address.addr_spec):
        raise InvalidMessage(argument, f"must hold encoded words that can be decoded, got {text!r}")
    if not address.username.isascii():
        raise UnsupportedMessage(
            argument,
            "must have only ASCII characters before the @: genro-mail-proxy and many servers lack SMTPUTF8 (RFC "
            f"6531); ask for an ASCII alias of the mailbox, got {text!r}",
        )
    domain = _ascii_domain(argument, address.domain, text) if address.domain else ""
    spec = _spec(address.username, domain)
    if re.search(r"\s", spec) or len(spec) > _MAX_LENGTH:
        raise InvalidMessage(argument, f"must hold no space and at most {_MAX_LENGTH} characters, got {text!r}")
    return Mailbox(name=re.sub("[ \t]+", " ", name).strip(), address=spec)


def _spec(local: str, domain: str) -> str:
    if not _DOT_ATOM.fullmatch(local):
        # `Address` forgets the quotes around two dots in sequence.
        local = '"' + re.sub(r'([\\"])', r"\\\1", local) + '"'
    return f"{local}@{domain}" if domain else local


def _ascii_domain(argument: str, domain: str, text: str) -> str:
    if not domain.isascii():
        try:
            # IDNA 2008 with the UTS 46 mapping, as browsers do: the standard library's codec is IDNA 2003 and turns
            # straße.de into the domain of somebody else.
            return idna.encode(domain, uts46=True).decode("ascii")
        except UnicodeError:
            pass
        try:
            # Some domains have signs that only IDNA 2003 allows: i❤.ws.
            domain = domain.encode("idna").decode("ascii")
        except UnicodeError as exc:
            raise InvalidMessage(argument, f"must have a domain that exists in DNS, got {text!r}") from exc
    if not _LITERAL.fullmatch(domain) and not _DOMAIN.fullmatch(domain):
        raise InvalidMessage(argument, f"must have a domain after the @ such as example.com, got {text!r}")
    return domain
