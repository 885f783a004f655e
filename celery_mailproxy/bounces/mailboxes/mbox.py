"""Bounces in an mbox file, to which a mail server appends.

The file is never written: where it ended is remembered instead, and nobody's mails are at risk.
"""

from __future__ import annotations

import fcntl
import re
import time
from collections.abc import Iterator, Sequence
from datetime import datetime, timezone
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

from ...errors import MailboxError
from .base import MAX_SOURCE_BYTES, FoundMail, Mailbox
from .paths import path_of

__all__ = ["MboxFile"]

_FROM_LINE = re.compile(rb"^From [^\n]*\n")
_LOCK_TRIES = 10
_STATUS = re.compile(rb"^Status: *[A-Z]*R", re.MULTILINE)


class MboxFile(Mailbox):
    """An mbox file, locked while mails are read from it.

    The kernel's lock alone is taken (fcntl), which mail servers respect and which ends with its process: a lock file
    would outlive one that is killed, and keep the mail server out.

    A mail's key is where it begins and ends, and a hash of its source; the place is the same of the last mail that was
    looked at. A file that holds another mail there has been rotated, and is read from its beginning.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.name = f"mbox://{path}"

    @classmethod
    def from_url(cls, url: str) -> MboxFile:
        """`mbox:///var/mail/bounces`."""
        return cls(path_of(url))

    def __enter__(self) -> MboxFile:
        if not self._path.is_file():
            raise MailboxError(f"{self._path} cannot be read: it is no file")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Nothing is kept open."""

    def unread(self, place: Any, *, limit: int) -> list[FoundMail]:
        found: list[FoundMail] = []
        try:
            with self._path.open("rb") as file:
                _lock(file)
                for mail in _mails(file, _start(file, place)):
                    if not _is_read(mail):
                        found.append(mail)
                    if len(found) == limit:
                        break
        except OSError as exc:
            raise MailboxError(f"{self._path} cannot be read: {exc.strerror}") from exc
        return found

    def mark_seen(self, mails: Sequence[FoundMail]) -> None:
        """Nothing is written: the place alone says what has been looked at."""

    def place_after(self, place: Any, mails: Sequence[FoundMail]) -> Any:
        if not mails:
            return place
        begin, end, digest = mails[-1].key.split("/")
        return [int(begin), int(end), digest]


def _lock(file: BinaryIO) -> None:
    """Wait a second for a mail server that is writing; then the next look has to do. Closing the file lets go of it."""
    for _ in range(_LOCK_TRIES - 1):
        try:
            fcntl.lockf(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return
        except (BlockingIOError, PermissionError):
            time.sleep(1 / _LOCK_TRIES)
    fcntl.lockf(file, fcntl.LOCK_SH | fcntl.LOCK_NB)


def _start(file: BinaryIO, place: Any) -> int:
    """Where the first mail begins that has not been looked at."""
    try:
        begin, end, digest = int(place[0]), int(place[1]), str(place[2])
        file.seek(begin)
        source = _FROM_LINE.sub(b"", file.read(end - begin), count=1)
    except (TypeError, ValueError, LookupError):
        return 0
    return end if file.tell() == end and _digest(source) == digest else 0


def _mails(file: BinaryIO, start: int) -> Iterator[FoundMail]:
    """The mails from there on. One begins with a From line that is the file's first, or follows a blank line."""
    file.seek(start)
    begin = position = start
    lines: list[bytes] = []
    size, received_at, is_after_blank = 0, None, True
    for line in file:
        if is_after_blank and _FROM_LINE.match(line):
            if size:
                yield _mail(begin, position, lines, received_at)
            begin, lines, size, received_at = position, [], 0, _moment(line)
        elif size < MAX_SOURCE_BYTES and (size or line.strip()):
            lines.append(line)
            size += len(line)
        position += len(line)
        is_after_blank = not line.strip()
    if size:
        yield _mail(begin, position, lines, received_at)


def _mail(begin: int, end: int, lines: Sequence[bytes], received_at: datetime | None) -> FoundMail:
    source = b"".join(lines)[:MAX_SOURCE_BYTES]
    return FoundMail(key=f"{begin}/{end}/{_digest(source)}", source=source, received_at=received_at)


def _digest(source: bytes) -> str:
    """What tells whether the same mail is still there: its beginning, which holds its Message-ID and its date."""
    return sha256(source.strip()[:4096]).hexdigest()[:16]


def _is_read(mail: FoundMail) -> bool:
    head = mail.source.partition(b"\n\n")[0]
    return _STATUS.search(head) is not None


def _moment(line: bytes) -> datetime | None:
    """The moment of a From line: `From MAILER-DAEMON Mon Mar  2 10:00:00 2026`, in the server's own time."""
    text = " ".join(line.decode("ascii", "replace").split()[-5:])
    try:
        return datetime.strptime(text, "%a %b %d %H:%M:%S %Y").replace(tzinfo=timezone.utc)
    except ValueError:
        return None
