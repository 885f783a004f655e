"""`SoughtAddress`: a mail address in whatever texts it stands."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import idna

__all__ = ["ERASED", "SoughtAddress"]

#: What stands in place of an address; `errors.redact` writes the same.
ERASED = "<address>"

#: What may be part of a local part. Ideographs are not: such languages write an address without blanks around it.
_ATOM = r"A-Za-z0-9_\u00c0-\u052f"

#: Before an address: no character that would make it a longer one, such as `x`, `x+` and `o'` of `o'ann@example.com`.
#: But an apostrophe may be a quote, and letters may end an escape of a URL or of a JSON text.
_BEFORE = rf"(?:(?<![{_ATOM}.+\-%'])|(?<=')(?<![{_ATOM}.+\-]')|(?<=%[0-9A-F][0-9A-F])|(?<=\\[nrt]))"

#: Behind it: nothing that goes on with the domain. A full stop may end a sentence.
_BEHIND = rf"(?!\.?-*[{_ATOM}])"


@dataclass(frozen=True, kw_only=True)
class SoughtAddress:
    """A bare address, `ann@example.com`, whose domain is ASCII. Its repr does not show it.

    Found without regard to case, also within `Ann <ann@example.com>`, with the domain in its own characters, and as a
    URL writes it (`ann%40example.com`); never within a longer address.
    """

    address: str = field(repr=False)
    _exact: re.Pattern[str] = field(init=False, repr=False, compare=False)
    _anywhere: re.Pattern[str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        local, _, domain = self.address.rpartition("@")
        domains = [domain]
        with suppress(idna.IDNAError):
            domains.append(idna.decode(domain))
        pattern = f"{_escaped(local)}(?:@|%40)(?:{'|'.join(map(re.escape, dict.fromkeys(domains)))})"
        # With the brackets around it, which the replacement brings along.
        exact = f"<{pattern}>|{_BEFORE}{pattern}{_BEHIND}"
        object.__setattr__(self, "_exact", re.compile(exact, re.IGNORECASE))
        object.__setattr__(self, "_anywhere", re.compile(pattern, re.IGNORECASE))

    def is_in(self, value: Any) -> bool:
        """Whether it stands in a text, or in one of a JSON-able value: in keys, too."""
        if isinstance(value, str):
            return self._exact.search(value) is not None
        if isinstance(value, Mapping):
            return any(self.is_in(key) or self.is_in(each) for key, each in value.items())
        return isinstance(value, list | tuple) and any(map(self.is_in, value))

    def may_be_in(self, data: bytes) -> bool:
        """Whether it may stand in what some serializer has written, where what stands before a text says nothing."""
        return self._anywhere.search(data.decode("utf-8", "replace")) is not None

    def erased_from(self, value: Any) -> Any:
        """The same text or JSON-able value with `ERASED` in place of the address."""
        if isinstance(value, str):
            return self._exact.sub(ERASED, value)
        if isinstance(value, Mapping):
            return {self.erased_from(key): self.erased_from(each) for key, each in value.items()}
        if isinstance(value, list | tuple):
            return type(value)(map(self.erased_from, value))
        return value


def _escaped(local: str) -> str:
    """A pattern of the local part, each of whose characters a URL may have escaped."""
    return "".join(char if char.isalnum() else f"(?:{re.escape(char)}|%{ord(char):02X})" for char in local)
