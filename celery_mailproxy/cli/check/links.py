"""`Link`: what `check` found of one link of the chain."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

from ...errors import MailProxyError
from ..terminal import plain

__all__ = ["Link", "Outcome", "failed", "fine", "guarded", "hide_secrets", "skipped", "warning"]

#: Shorter ones are not looked for: they stand in ordinary words, too.
_SHORTEST_SECRET = 6


class Outcome(str, Enum):
    """The result of testing a link."""

    OK = "ok"
    WARNING = "warning"  #: works, or may work; somebody should check it
    FAILED = "failed"
    SKIPPED = "skipped"  #: could not be tested, or need not be

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """One row of the answer. `server` is set for what belongs to one proxy; `remedy` says what to do."""

    name: str
    outcome: Outcome
    found: str
    remedy: str | None = None
    server: str | None = None

    def to_json(self) -> dict[str, Any]:
        data: dict[str, Any] = {"link": self.name, "outcome": self.outcome.value, "found": self.found}
        if self.remedy:
            data["remedy"] = self.remedy
        if self.server:
            data["server"] = self.server
        return data


def fine(name: str, found: str) -> Link:
    return Link(name=name, outcome=Outcome.OK, found=found)


def warning(name: str, found: str, remedy: str) -> Link:
    return Link(name=name, outcome=Outcome.WARNING, found=found, remedy=remedy)


def failed(name: str, found: str, remedy: str | None = None) -> Link:
    return Link(name=name, outcome=Outcome.FAILED, found=found, remedy=remedy)


def skipped(name: str, why: str) -> Link:
    return Link(name=name, outcome=Outcome.SKIPPED, found=why)


def guarded(name: str, check: Callable[[], Link], *, remedy: str | None = None) -> Link:
    """What `check` finds; whatever it raises is a failed link, so that the others are still tested."""
    try:
        return check()
    except MailProxyError as exc:
        return failed(name, plain(str(exc)), remedy)
    except Exception as exc:
        # Brokers, databases and servers raise what they like.
        return failed(name, plain(f"{type(exc).__name__}: {exc}"), remedy)


def hide_secrets(link: Link, secrets: Iterable[str]) -> Link:
    """The link with each of the secrets blotted out, in case somebody else's error message quotes one.

    What was found only: a remedy is all our own words, and quotes nobody.
    """
    found = link.found
    for secret in sorted(secrets, key=len, reverse=True):
        if len(secret) >= _SHORTEST_SECRET:
            found = found.replace(secret, "***")
    return replace(link, found=found)
