"""What an entry of a record keeps of a report."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import pytest

from celery_mailproxy.deliveries.losses import as_deferral
from celery_mailproxy.deliveries.report import Kind, parse_entry
from celery_mailproxy.deliveries.stores.report_codec import pack_report, unpack_report
from tests.contract.store_values import report

USUAL_ENTRIES = [
    {"id": "m", "sent_ts": 1795324468, "error_ts": None, "error": None},
    {"id": "m", "sent_ts": None, "error_ts": 1795324468, "error": "no account"},
    {"id": "m", "sent_ts": 1795324468},
    {"id": "m", "error_ts": 1795324468, "error": "Account 'nope' not found"},
    {"id": "m", "deferred_ts": 1795324468, "deferred_reason": "rate_limit"},
    {"id": "m", "bounce_ts": 1795324468, "bounce_type": "hard", "bounce_code": "550", "bounce_reason": "no such user"},
    {"id": "m", "pec_event": "pec_delivery", "pec_ts": 1795324468, "pec_details": "…"},
]


@pytest.mark.parametrize("entry", USUAL_ENTRIES, ids=lambda entry: "-".join(sorted(set(entry) - {"id"})))
def test_usual_raw_entry_is_not_written_out(entry: dict[str, Any]) -> None:
    (parsed,) = parse_entry(entry)
    assert "_ts" not in pack_report(parsed)


def test_mappings_of_any_kind_are_written() -> None:
    raw: Mapping[str, Any] = MappingProxyType({"id": "m", "odd": MappingProxyType({"a": 1})})
    assert '"odd"' in pack_report(report("m", Kind.SENT, raw=raw))


def test_a_loss_that_counts_as_a_deferral_comes_back_as_it_is() -> None:
    (loss,) = parse_entry({"id": "m", "error_ts": 1795324468, "error": "missing 'from'"})
    found = as_deferral(loss)
    assert unpack_report(pack_report(found), Kind.DEFERRED, "m") == found
