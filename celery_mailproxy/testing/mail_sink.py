"""An SMTP server that keeps what it gets: `MailSink`. Needs aiosmtpd."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from types import TracebackType
from typing import TYPE_CHECKING, Any

from celery_mailproxy.errors import ConfigurationError
from celery_mailproxy.testing.ports import free_port

if TYPE_CHECKING:
    # Python 3.10 has no typing.Self.
    from typing_extensions import Self

__all__ = ["MailSink", "ReceivedMail", "refuse_by_name"]


@dataclass(frozen=True, kw_only=True)
class ReceivedMail:
    """One mail as it came over SMTP: its envelope, and its bytes as they were."""

    mail_from: str
    rcpt_to: tuple[str, ...]
    raw: bytes = field(repr=False)

    @property
    def message(self) -> EmailMessage:
        """The mail, parsed anew at each access."""
        return message_from_bytes(self.raw, policy=policy.default)


def refuse_by_name(recipient: str) -> str | None:
    """The sink's default refusals, by the beginning of the local part; anything else is accepted.

    `refused…` → 550, `later…` → 451. (The proxies defer both: they do not look into a refusal of recipients.)
    """
    if recipient.startswith("refused"):
        return "550 5.1.1 no such user"
    if recipient.startswith("later"):
        return "451 4.3.0 try later"
    return None


class MailSink:
    """An SMTP server on 127.0.0.1, in a thread, without TLS, authentication or SMTPUTF8. Enter it to start it.

    Args:
        port: its port; by default a free one.
        refuse: asked for every recipient; returns an SMTP answer (`"550 5.1.1 no such user"`) or None to accept.
        delay_seconds: how long it takes to accept a mail.

    A mail with a recipient whose local part starts with `spam` is refused after its content (554): the one refusal
    that both proxies report as an error at once.
    """

    host = "127.0.0.1"

    def __init__(
        self,
        *,
        port: int | None = None,
        refuse: Callable[[str], str | None] = refuse_by_name,
        delay_seconds: float = 0.0,
    ) -> None:
        self.port = port or free_port()
        self.refuse = refuse
        self.delay_seconds = delay_seconds
        self._mails: list[ReceivedMail] = []
        self._answers: dict[str, deque[str]] = {}
        self._changed = threading.Condition()
        self._controller: Any = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def mails(self) -> list[ReceivedMail]:
        """What has been accepted so far, in order."""
        with self._changed:
            return list(self._mails)

    def mails_to(self, recipient: str) -> list[ReceivedMail]:
        """The accepted mails with this envelope recipient."""
        return [mail for mail in self.mails if recipient in mail.rcpt_to]

    def clear(self) -> None:
        """Forget the mails and the scripted answers."""
        with self._changed:
            self._mails.clear()
            self._answers.clear()

    def answer_next(self, recipient: str, *answers: str) -> None:
        """Refuse the next tries to this recipient with these SMTP answers, one each; then go on as usual."""
        with self._changed:
            self._answers.setdefault(recipient, deque()).extend(answers)

    def wait_for(self, count: int, *, timeout_seconds: float = 10.0) -> list[ReceivedMail]:
        """Wait until at least `count` mails have been accepted, and return all.

        Raises:
            TimeoutError: fewer came in time.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: len(self._mails) >= count, timeout_seconds):
                raise TimeoutError(f"{len(self._mails)} of {count} mails came within {timeout_seconds:g} s")
            return list(self._mails)

    def start(self) -> None:
        """Start to listen.

        Raises:
            ConfigurationError: aiosmtpd is not installed.
            OSError: the port is taken.
        """
        try:
            # Not at the top: aiosmtpd is optional, and the sink's values are of use without it.
            from celery_mailproxy.testing import smtp_server
        except ModuleNotFoundError as exc:
            raise ConfigurationError(
                'MailSink needs aiosmtpd, which is not installed: pip install "celery-mailproxy[demo]"'
            ) from exc
        self._controller = smtp_server.start(self, self.host, self.port)

    def stop(self) -> None:
        """Close all connections and stop listening. What was received stays."""
        controller, self._controller = self._controller, None
        if controller is not None:
            controller.stop()

    # The hooks of aiosmtpd: https://aiosmtpd.aio-libs.org/en/latest/handlers.html

    async def handle_RCPT(self, server: Any, session: Any, envelope: Any, address: str, options: list[str]) -> str:
        with self._changed:
            answers = self._answers.get(address)
            answer = answers.popleft() if answers else self.refuse(address)
        if answer is None:
            envelope.rcpt_tos.append(address)
        return answer or "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        if self.delay_seconds:
            await asyncio.sleep(self.delay_seconds)
        if any(address.startswith("spam") for address in envelope.rcpt_tos):
            return "554 5.7.1 message refused"
        mail = ReceivedMail(
            mail_from=envelope.mail_from, rcpt_to=tuple(envelope.rcpt_tos), raw=envelope.original_content
        )
        with self._changed:
            self._mails.append(mail)
            self._changed.notify_all()
        return "250 OK"
