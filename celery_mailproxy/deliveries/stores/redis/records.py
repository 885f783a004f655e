"""What Redis keeps of a message and what the scripts answer, to and from the store's own values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ....errors import DamagedRecord
from ...delivery import Delivery
from ...recording import Recorded, Verdict
from ...report import DeliveryReport
from ..base import Advanced
from ..codec import decode_delivery, encode_delivery, encode_suspension
from ..packing import pack_text
from ..report_codec import pack_report
from .scripts import Damage

__all__ = ["advanced_of", "decode_record", "encode_record", "fields_of", "keys_of", "recorded_of", "report_arguments"]

#: How many arguments `RECORD` has before those of its reports.
_BEFORE_REPORTS = 11


def encode_record(delivery: Delivery) -> tuple[str, str]:
    """The head of a record, and all that follows it."""
    head, static = encode_delivery(delivery)
    suspension = encode_suspension(delivery.suspension, delivery.message_id)
    return head, static if suspension is None else f"{static}\n{suspension}"


def decode_record(message_id: str, value: Any) -> Delivery:
    """The delivery that a record's value, or what was answered instead of it, stands for. Raises `DamagedRecord`."""
    try:
        text = _readable(message_id, value).decode()
    except UnicodeDecodeError as exc:
        raise DamagedRecord([message_id], str(exc)) from exc
    head, _, rest = text.partition("\n")
    static, _, suspension = rest.partition("\n")
    return decode_delivery(message_id, head, static, suspension or None)


def report_arguments(report: DeliveryReport) -> tuple[str, str, str]:
    """The arguments of `RECORD` for a report."""
    return pack_text(report.key), pack_text(report.tenant_id or ""), pack_report(report)


def keys_of(arguments: Sequence[Any]) -> Sequence[str]:
    """The keys of the reports among the arguments of `RECORD`."""
    return arguments[_BEFORE_REPORTS::3]


def recorded_of(message_id: str, reports: Sequence[DeliveryReport], answer: Any) -> list[Recorded]:
    """What `RECORD` answered to reports of one message. Raises `DamagedRecord`."""
    if answer is None:
        return [Recorded(report=report, verdict=Verdict.UNKNOWN, delivery=None) for report in reports]
    *verdicts, value = _readable(message_id, answer)
    delivery = decode_record(message_id, value)
    pairs = zip(reports, (Verdict(verdict.decode()) for verdict in verdicts), strict=True)
    return [
        Recorded(report=report, verdict=verdict, delivery=None if verdict is Verdict.UNKNOWN else delivery)
        for report, verdict in pairs
    ]


def advanced_of(message_id: str, answer: Any) -> Advanced:
    """What `ADVANCE` answered. Raises `DamagedRecord`."""
    if answer is None:
        return Advanced(is_allowed=False, delivery=None)
    is_allowed, value = _readable(message_id, answer)
    return Advanced(is_allowed=bool(is_allowed), delivery=decode_record(message_id, value))


def _readable(message_id: str, answer: Any) -> Any:
    if isinstance(answer, Damage):
        raise DamagedRecord([message_id], answer.problem)
    return answer


def fields_of(answer: Any) -> Iterator[tuple[bytes, bytes]]:
    """The fields of a hash: some clients make a dict of them, and some leave the flat list."""
    if isinstance(answer, Mapping):
        yield from answer.items()
        return
    flat = iter(answer)
    yield from zip(flat, flat, strict=True)
