"""`BounceReader`: from the bounce mailbox to dispatch tasks, each bounce once.

Whatever is interrupted, and whenever: a mail is marked as read, and the place in the mailbox noted, only once the
broker has its reports. What was cut off in between is read again, and its reports are the same ones to the store.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from hashlib import sha256
from itertools import chain
from json import dumps, loads
from typing import Any

from ..deliveries.report import MAX_REASON_LENGTH, DeliveryReport, Kind, utcnow
from ..deliveries.stores.base import DeliveryStore
from ..dispatch.postponing import postponer_of
from ..errors import ConfigurationError
from ..runtime import Runtime
from .finding import candidates, delivery_for, known_deliveries
from .mailboxes import Mailbox, open_mailbox
from .mailboxes.base import FoundMail
from .notice import Notice, Reading
from .parsing import read_mail

__all__ = ["VIA", "BounceReader", "Tally", "read_bounces"]

logger = logging.getLogger(__name__)

#: What `DeliveryReport.via` says of reports from here.
VIA = "mailbox"

#: How many mails are fetched at once: each may be as large as `MAX_SOURCE_BYTES`.
_PAGE = 20

#: A notice that says to be older than that, or to come from the future, is dated by its arrival.
_OLDEST = timedelta(days=14)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """What was in the mailbox: unread mails that were looked at, and reports that were made of them.

    `unknown` are notices of mails that this application has not sent, `others` mails that are no notices. Both stay
    unread.
    """

    looked_at: int = 0
    hard: int = 0
    soft: int = 0
    undetermined: int = 0
    complaints: int = 0
    unknown: int = 0
    others: int = 0

    @property
    def reports(self) -> int:
        """How many reports were handed over."""
        return self.hard + self.soft + self.undetermined + self.complaints

    def __add__(self, other: Tally) -> Tally:
        mine, theirs = asdict(self), asdict(other)
        return Tally(**{name: number + theirs[name] for name, number in mine.items()})


class BounceReader:
    """Reads the bounce mailbox of an application.

    `accept` takes reports, and returns once they are safe; `template` is that of VERP addresses, if there is one.
    """

    def __init__(
        self,
        *,
        mailbox: Mailbox,
        store: DeliveryStore,
        accept: Callable[[Sequence[DeliveryReport]], None],
        template: str | None = None,
        clock: Callable[[], datetime] = utcnow,
    ) -> None:
        self._mailbox = mailbox
        self._store = store
        self._accept = accept
        self._template = template
        self._clock = clock
        digest = sha256(mailbox.identity.encode("utf-8", "replace")).hexdigest()[:16]
        self._value = f"bounces.{digest}"

    def read(self, go_on: Callable[[], bool] = lambda: True) -> Tally:
        """Look at all unread mails; between pages `go_on` says whether there is time for the next.

        Two may read at once: the store knows each report once. Raises `MailboxError`, `StoreError` and what `accept`
        raises; what is left over is found by the next look.
        """
        total = Tally()
        with self._mailbox as mailbox:
            place = self._place()
            while go_on():
                mails = mailbox.unread(place, limit=_PAGE)
                if not mails:
                    break
                tally, handled = self._handle(mails)
                mailbox.mark_seen(handled)
                place = mailbox.place_after(place, mails)
                self._store.set_value(self._value, dumps(place))
                total += tally
        if total.looked_at:
            logger.info("bounce mailbox: %d mails looked at, %d reports", total.looked_at, total.reports)
        return total

    def _place(self) -> Any:
        try:
            return loads(self._store.get_value(self._value) or "null")
        except ValueError:
            return None

    def _handle(self, mails: Sequence[FoundMail]) -> tuple[Tally, list[FoundMail]]:
        """Hand over what the mails say; what they were, and those of them that are done with."""
        readings = [(mail, reading) for mail in mails if (reading := _read(mail)) is not None]
        tally = Tally(looked_at=len(mails), others=len(mails) - len(readings))
        found = [candidates(reading.clues, self._template) for _, reading in readings]
        known = known_deliveries(self._store, chain.from_iterable(found))
        reports: list[DeliveryReport] = []
        handled: list[FoundMail] = []
        for (mail, reading), ids in zip(readings, found, strict=True):
            at = _moment(reading, mail, now=self._clock())
            placed = [(each, delivery_for(ids, known, each.recipient)) for each in reading.notices]
            own = [_report(each, target[0], at, mail) for each, target in placed if target is not None]
            if not own:
                tally = replace(tally, unknown=tally.unknown + 1)
                continue
            handled.append(mail)
            reports += own
        if reports:
            self._accept(reports)
        return tally + _counted(reports), handled


def read_bounces(runtime: Runtime, go_on: Callable[[], bool] = lambda: True) -> Tally:
    """Read the application's bounce mailbox, and leave its reports to dispatch tasks.

    Raises `ConfigurationError` where it has none, what `BounceReader.read` raises, and kombu's `OperationalError`.
    """
    settings = runtime.settings
    if settings.bounce_mailbox is None:
        raise ConfigurationError(
            "mail_proxy_bounce_mailbox is not set. Set it to the mailbox that bounces come to, like "
            "'imaps://user:password@mail.example.com/INBOX'."
        )

    def accept(reports: Sequence[DeliveryReport]) -> None:
        size = settings.dispatch_chunk_size
        for start in range(0, len(reports), size):
            postponer_of(runtime).postpone(reports[start : start + size])

    reader = BounceReader(
        mailbox=open_mailbox(settings.bounce_mailbox),
        store=runtime.store,
        accept=accept,
        template=settings.bounce_address,
    )
    return reader.read(go_on)


def _read(mail: FoundMail) -> Reading | None:
    try:
        return read_mail(mail.source)
    except Exception as exc:
        # Anybody may write to this mailbox: one mail must not hold up the others. By its type: the text may quote it.
        logger.warning("a mail in the bounce mailbox cannot be read: %s", type(exc).__name__)
        return None


def _moment(reading: Reading, mail: FoundMail, *, now: datetime) -> datetime:
    """When it bounced: by its Date header, unless that is far from when the mail arrived."""
    arrived = mail.received_at or now
    is_plausible = reading.at is not None and arrived - _OLDEST < reading.at <= arrived
    return reading.at if is_plausible and reading.at is not None else arrived


def _report(notice: Notice, message_id: str, at: datetime, mail: FoundMail) -> DeliveryReport:
    # The same notice gives the same id wherever it is found again.
    origin = "\0".join([notice.kind.value, (notice.recipient or "").lower(), notice.code or ""])
    source = sha256(origin.encode("utf-8", "replace") + b"\0" + mail.source.strip().replace(b"\r\n", b"\n"))
    return DeliveryReport(
        kind=notice.kind,
        message_id=message_id,
        at=at,
        reason=notice.reason[:MAX_REASON_LENGTH] if notice.reason else None,
        code=notice.code,
        bounce_type=notice.bounce_type,
        recipient=notice.recipient,
        event_id=source.hexdigest()[:16],
        via=VIA,
    )


def _counted(reports: Sequence[DeliveryReport]) -> Tally:
    bounces = [each.bounce_type for each in reports if each.kind is Kind.BOUNCED]
    return Tally(
        hard=bounces.count("hard"),
        soft=bounces.count("soft"),
        undetermined=bounces.count(None),
        complaints=len(reports) - len(bounces),
    )
