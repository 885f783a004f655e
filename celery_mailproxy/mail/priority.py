"""`Priority`: in which order the proxy sends."""

from __future__ import annotations

from enum import IntEnum

from ..errors import InvalidMessage, shown

__all__ = ["Priority"]


class Priority(IntEnum):
    """In which order the proxy sends; `IMMEDIATE` goes before everything else."""

    IMMEDIATE = 0
    HIGH = 1
    MEDIUM = 2
    LOW = 3

    @classmethod
    def parse(cls, value: object) -> Priority:
        """From a number or a name in any case, else `InvalidMessage`."""
        if isinstance(value, str) and value.upper() in cls.__members__:
            return cls[value.upper()]
        if isinstance(value, int) and not isinstance(value, bool) and value in tuple(cls):
            return cls(value)
        names = ", ".join(f"{one.value} ({one.name.lower()})" for one in cls)
        raise InvalidMessage("priority", f"must be one of {names}, got {shown(value)}")
