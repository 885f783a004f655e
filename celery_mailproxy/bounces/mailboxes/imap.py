"""Bounces in a folder of an IMAP account (RFC 9051; RFC 3501), through IMAPClient: the extra `imap`."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from ipaddress import ip_address
from types import TracebackType
from typing import Any, TypeVar
from urllib.parse import parse_qsl, unquote, urlsplit

from ...errors import ConfigurationError, MailboxError, redact
from .base import MAX_SOURCE_BYTES, FoundMail, Mailbox

try:
    from imapclient import SEEN, IMAPClient
    from imapclient.exceptions import IMAPClientError
except ModuleNotFoundError as missing:
    raise ConfigurationError(
        'mail_proxy_bounce_mailbox needs IMAPClient, which is not installed: pip install "celery-mailproxy[bounces]"'
    ) from missing

__all__ = ["IMAPMailbox"]

#: For each answer of the server.
_TIMEOUT_SECONDS = 30.0

_PROBLEM = (
    "mail_proxy_bounce_mailbox must be like 'imaps://user:password@mail.example.com/INBOX', with what is special in "
    "user and password percent-encoded"
)

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Account:
    """Where the folder is, and who may open it."""

    host: str
    port: int
    folder: str
    user: str = field(repr=False)
    password: str = field(repr=False)
    is_tls: bool = True
    ca_file: str | None = None


class IMAPMailbox(Mailbox):
    """A folder of an IMAP account. What is read is marked with the flag `\\Seen`.

    A mail's key is its UID. The place is `{"uidvalidity", "uid"}`: that of the newest mail that was looked at. With
    another UIDVALIDITY the UIDs are others, too, and all unread mails are looked at again.
    """

    def __init__(self, account: _Account) -> None:
        self._account = account
        self._client: IMAPClient | None = None
        self._uidvalidity = 0
        self.name = f"imap{'s' if account.is_tls else ''}://{account.host}:{account.port}/{account.folder}"

    @property
    def identity(self) -> str:
        return f"{self._account.user} {self.name}"

    @classmethod
    def from_url(cls, url: str) -> IMAPMailbox:
        """`imaps://user:password@host:993/INBOX?ca_file=/path`; `imap://` begins without TLS, and asks for it.

        Only to this very machine is a password sent without TLS. Raises `ConfigurationError`.
        """
        return cls(_account(url))

    def __enter__(self) -> IMAPMailbox:
        try:
            self._ask(self._connect)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        client, self._client = self._client, None
        if client is not None:
            with suppress(IMAPClientError, OSError):
                client.logout()

    def unread(self, place: Any, *, limit: int) -> list[FoundMail]:
        last = self._last_uid(place)
        found: list[int] = self._ask(lambda: self._open.search(["UNSEEN", "UID", f"{last + 1}:*"]))
        # `n:*` holds the newest mail also where its UID is less than n (RFC 9051, 9.: seq-range).
        uids = sorted(uid for uid in found if uid > last)[:limit]
        if not uids:
            return []
        part = f"BODY.PEEK[]<0.{MAX_SOURCE_BYTES}>"
        answers: dict[int, dict[bytes, Any]] = self._ask(lambda: self._open.fetch(uids, ["INTERNALDATE", part]))
        mails = (_mail(uid, answers[uid]) for uid in uids if uid in answers)
        return [mail for mail in mails if mail is not None]

    def mark_seen(self, mails: Sequence[FoundMail]) -> None:
        if mails:
            self._ask(lambda: self._open.add_flags([int(mail.key) for mail in mails], [SEEN], silent=True))

    def place_after(self, place: Any, mails: Sequence[FoundMail]) -> dict[str, int]:
        uid = max([self._last_uid(place), *(int(mail.key) for mail in mails)])
        return {"uidvalidity": self._uidvalidity, "uid": uid}

    @property
    def _open(self) -> IMAPClient:
        if self._client is None:
            raise MailboxError(f"{self.name} is not connected")
        return self._client

    def _connect(self) -> None:
        account = self._account
        context = ssl.create_default_context(cafile=account.ca_file)
        client = self._client = IMAPClient(
            account.host,
            port=account.port,
            ssl=account.is_tls,
            ssl_context=context if account.is_tls else None,
            timeout=_TIMEOUT_SECONDS,
        )
        client.normalise_times = False
        if not account.is_tls and not _is_here(account.host):
            client.starttls(context)
        client.login(account.user, account.password)
        self._uidvalidity = int(client.select_folder(account.folder).get(b"UIDVALIDITY", 0))

    def _last_uid(self, place: Any) -> int:
        is_ours = isinstance(place, dict) and place.get("uidvalidity") == self._uidvalidity
        uid = place.get("uid") if is_ours else 0
        return uid if isinstance(uid, int) else 0

    def _ask(self, question: Callable[[], Answer]) -> Answer:
        try:
            return question()
        except (IMAPClientError, OSError) as exc:
            # A server may repeat what it was sent.
            problem = redact(f"{type(exc).__name__}: {exc}").replace(self._account.password, "***")
            raise MailboxError(f"{self.name}: {problem}") from None


def _mail(uid: int, answer: dict[bytes, Any]) -> FoundMail | None:
    source = next((value for name, value in answer.items() if name.startswith(b"BODY[]")), None)
    moment = answer.get(b"INTERNALDATE")
    received_at = moment if isinstance(moment, datetime) and moment.tzinfo else None
    # None where the mail has been expunged meanwhile.
    return FoundMail(key=str(uid), source=source, received_at=received_at) if isinstance(source, bytes) else None


def _account(url: str) -> _Account:
    try:
        parts = urlsplit(url)
        port = parts.port
        options = dict(parse_qsl(parts.query, strict_parsing=bool(parts.query)))
    except ValueError:
        # Not with its text: it may quote the password.
        raise ConfigurationError(f"{_PROBLEM}.") from None
    if not parts.hostname or not parts.username or not parts.password or parts.fragment:
        raise ConfigurationError(f"{_PROBLEM}.")
    if unknown := sorted(set(options) - {"ca_file"}):
        raise ConfigurationError(f"{_PROBLEM}; of options it takes ca_file alone, got {', '.join(unknown)}.")
    is_tls = parts.scheme.lower() == "imaps"
    return _Account(
        host=parts.hostname,
        port=port or (993 if is_tls else 143),
        folder=unquote(parts.path.strip("/")) or "INBOX",
        user=unquote(parts.username),
        password=unquote(parts.password),
        is_tls=is_tls,
        ca_file=options.get("ca_file"),
    )


def _is_here(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
