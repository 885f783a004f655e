"""A mail that 0.7.0 has nested in its own row, and how it gets out of there.

When an SMTP server defers a mail, 0.7.0 writes back not the mail but its whole row: `{"from": …}` becomes `{"id": …,
"message": {"from": …}, "retry_count": 1}`, which `GET /messages/get` shows. At the next try it finds no sender in that,
and gives the mail up. Seen on the running proxy; the mail itself is all there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["is_ended", "is_nested", "is_spare", "spare_id", "unnested"]

#: The end of a spare's id.
_SPARE = ".healing"

#: What of a row is part of the submission, beside the mail.
_OF_THE_ROW = ("account_id", "priority", "batch_code")


def is_nested(row: Mapping[str, Any]) -> bool:
    """Whether the proxy cannot send the mail of this row. It looks at the row, for a later release may do better."""
    return _is_nesting(row.get("message"))


def is_ended(row: Mapping[str, Any]) -> bool:
    """Whether the proxy has done with the message of this row: of a nested one, whether it has given it up."""
    return row.get("smtp_ts") is not None


def unnested(row: Mapping[str, Any], *, message_id: str, tenant_id: str, deferred_ts: int | None) -> dict[str, Any]:
    """The submission that puts the mail of a row, nested or not, in its place again: the same in all but its time."""
    mail: Any = row.get("message")
    while _is_nesting(mail):
        mail = mail["message"]
    kept = {name: row[name] for name in _OF_THE_ROW if row.get(name) is not None}
    submission = {**mail, **kept, "id": message_id, "tenant_id": tenant_id}
    return submission | ({} if deferred_ts is None else {"deferred_ts": deferred_ts})


def spare_id(message_id: str) -> str:
    """The id under which the proxy keeps a copy of the mail while the mail itself is deleted and added again."""
    return f"{message_id}{_SPARE}"


def is_spare(message_id: str) -> bool:
    """Whether it is the id of such a copy."""
    return message_id.endswith(_SPARE)


def _is_nesting(payload: Any) -> bool:
    return isinstance(payload, Mapping) and "from" not in payload and isinstance(payload.get("message"), Mapping)
