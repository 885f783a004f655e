"""VERP: an envelope sender of its own for each mail, by which a bounce says whose it is, whatever else it quotes.

`bounces+{id}@example.com` becomes `bounces+6f1c0c1e-…@example.com`. Mail servers deliver such an address to the mailbox
of `bounces@example.com` where they take `+` for a delimiter (RFC 5233).
"""

from __future__ import annotations

import re

__all__ = ["message_id_in", "verp_address"]

_PLACE = "{id}"

#: RFC 5321, 4.5.3.1.1.
_MAX_LOCAL_LENGTH = 64

#: What stands for itself. Capitals do not: some servers write addresses in small letters.
_PLAIN = re.compile("[a-z0-9_-]")
_ENCODED = re.compile("(?:[a-z0-9_-]|=[0-9a-f]{2})+", re.IGNORECASE)


def verp_address(template: str, message_id: str) -> str | None:
    """The envelope sender of that message; None where an address cannot be as long as the id needs."""
    address = template.replace(_PLACE, "".join(map(_encoded, message_id)))
    return address if len(address.rpartition("@")[0]) <= _MAX_LOCAL_LENGTH else None


def message_id_in(template: str, address: str) -> str | None:
    """The message id of an address that `verp_address` made of the template; None for every other address."""
    before, _, after = template.lower().partition(_PLACE)
    text = address.strip().lower()
    if not (text.startswith(before) and text.endswith(after)):
        return None
    encoded = text[len(before) : len(text) - len(after)]
    if not _ENCODED.fullmatch(encoded):
        return None
    try:
        return re.sub(b"=(..)", lambda match: bytes.fromhex(match[1].decode()), encoded.encode()).decode()
    except UnicodeDecodeError:
        return None


def _encoded(character: str) -> str:
    return character if _PLAIN.fullmatch(character) else "".join(f"={byte:02x}" for byte in character.encode())
