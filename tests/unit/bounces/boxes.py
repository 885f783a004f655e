"""Mailboxes of each kind with mails of the corpus in them, for tests of what reads them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path

from tests.harness.imap_server import ImapServer

__all__ = ["FilledBox", "FilledImap", "FilledMaildir", "FilledMbox"]


class FilledBox(ABC):
    """A mailbox: its URL, what puts mails into it, and which of them are read."""

    url: str

    @abstractmethod
    def deliver(self, *sources: bytes) -> None:
        """Put mails into it, as a mail server does."""

    @abstractmethod
    def seen(self) -> list[bool] | None:
        """Of each mail, in the order of delivery, whether it is marked as read; None where nobody marks any."""


class FilledMaildir(FilledBox):
    """A Maildir."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "Maildir"
        for name in ("new", "cur", "tmp"):
            (self.folder / name).mkdir(parents=True)
        self.url = f"maildir://{self.folder}"
        self._count = 0

    def deliver(self, *sources: bytes) -> None:
        for source in sources:
            self._count += 1
            name = f"{1772445600 + self._count}.M{self._count}P7.mx.shop.example"
            (self.folder / "tmp" / name).write_bytes(source)
            (self.folder / "tmp" / name).rename(self.folder / "new" / name)

    def seen(self) -> list[bool]:
        paths = [*(self.folder / "new").iterdir(), *(self.folder / "cur").iterdir()]
        ordered = sorted(paths, key=lambda path: int(path.name.partition(".")[0]))
        return [path.parent.name == "cur" and "S" in path.name.rpartition(":2,")[2] for path in ordered]


class FilledMbox(FilledBox):
    """An mbox file."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "bounces.mbox"
        self.path.touch()
        self.url = f"mbox://{self.path}"

    def deliver(self, *sources: bytes) -> None:
        with self.path.open("ab") as file:
            for source in sources:
                quoted = source.replace(b"\r\n", b"\n").replace(b"\nFrom ", b"\n>From ")
                file.write(b"From MAILER-DAEMON Mon Mar  2 10:30:00 2026\n" + quoted.rstrip(b"\n") + b"\n\n")

    def seen(self) -> None:
        return None


class FilledImap(FilledBox):
    """A folder of a real IMAP server."""

    def __init__(self, server: ImapServer, *, folder: str, is_tls: bool = True) -> None:
        self.server = server
        self.folder = folder
        self.url = server.url(folder) if is_tls else server.plain_url(folder)
        server.empty(folder)

    def deliver(self, *sources: bytes) -> None:
        self.server.append(*sources, folder=self.folder)

    def seen(self) -> list[bool]:
        return self.server.seen(self.folder)
