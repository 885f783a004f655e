"""Bounces in a Maildir: a file for each mail, in `new` until somebody looks, and then in `cur` with its flags."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timezone
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import Any

from ...errors import MailboxError
from .base import MAX_SOURCE_BYTES, FoundMail, Mailbox
from .paths import path_of

__all__ = ["Maildir"]

#: How many mails that are no bounces are remembered; of more of them, the oldest are read again at every look.
_MAX_KNOWN = 5000


class Maildir(Mailbox):
    """The Maildir in a folder. A read mail has the flag S, as every mail program knows it.

    The place is a list of short hashes: of the mails that were looked at and stay unread.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.name = f"maildir://{folder}"

    @classmethod
    def from_url(cls, url: str) -> Maildir:
        """`maildir:///var/mail/bounces`."""
        return cls(path_of(url))

    def __enter__(self) -> Maildir:
        if not (self._folder / "cur").is_dir() or not (self._folder / "new").is_dir():
            raise MailboxError(f"{self._folder} is no Maildir: it has no folders cur and new")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Nothing is kept open."""

    def unread(self, place: Any, *, limit: int) -> list[FoundMail]:
        known = _known(place)
        new = [path for path in self._unread_paths() if _hash(path) not in known]
        found = (_read(path) for path in new[: limit * 2])
        return [mail for mail in found if mail is not None][:limit]

    def mark_seen(self, mails: Sequence[FoundMail]) -> None:
        unread = {_unique(path): path for path in self._unread_paths()}
        for mail in mails:
            path = unread.get(mail.key)
            if path is None:
                # A person or another reader was quicker.
                continue
            flags = "".join(sorted({*_flags(path), "S"}))
            try:
                path.rename(self._folder / "cur" / f"{mail.key}:2,{flags}")
            except FileNotFoundError:
                continue
            except OSError as exc:
                raise MailboxError(f"a mail in {self._folder} cannot be marked as read: {exc.strerror}") from exc

    def place_after(self, place: Any, mails: Sequence[FoundMail]) -> list[str]:
        there = {_hash(path) for path in self._unread_paths()}
        known = [*dict.fromkeys([*_known(place), *(_hashed(mail.key) for mail in mails)])]
        return [each for each in known if each in there][-_MAX_KNOWN:]

    def _unread_paths(self) -> list[Path]:
        try:
            paths = [path for name in ("new", "cur") for path in (self._folder / name).iterdir()]
        except OSError as exc:
            raise MailboxError(f"{self._folder} cannot be read: {exc.strerror}") from exc
        mails = [path for path in paths if not path.name.startswith(".") and not {"S", "T"} & set(_flags(path))]
        # Names begin with the second of their delivery.
        return sorted(mails, key=lambda path: (_second(path), path.name))


def _read(path: Path) -> FoundMail | None:
    try:
        with path.open("rb") as file:
            source = file.read(MAX_SOURCE_BYTES)
        received_at = datetime.fromtimestamp(path.stat().st_mtime, timezone.utc)
    except FileNotFoundError:
        # Another program gave it flags just now: the next look finds it under its new name.
        return None
    except OSError as exc:
        raise MailboxError(f"a mail in {path.parent} cannot be read: {exc.strerror}") from exc
    return FoundMail(key=_unique(path), source=source, received_at=received_at)


def _unique(path: Path) -> str:
    return path.name.partition(":")[0]


def _flags(path: Path) -> str:
    return path.name.rpartition(":2,")[2] if ":2," in path.name else ""


def _second(path: Path) -> int:
    digits = path.name.partition(".")[0]
    return int(digits) if digits.isdecimal() else 0


def _known(place: Any) -> list[str]:
    return [str(each) for each in place] if isinstance(place, list) else []


def _hash(path: Path) -> str:
    return _hashed(_unique(path))


def _hashed(key: str) -> str:
    return sha256(key.encode("utf-8", "surrogateescape")).hexdigest()[:12]
