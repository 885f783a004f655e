"""Reading what the proxy reports."""

from __future__ import annotations

import contextlib
import json
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from celery_mailproxy.deliveries import report as reports
from celery_mailproxy.deliveries.report import DeliveryReport, Kind, parse_entry, parse_reports, utcnow
from celery_mailproxy.deliveries.stores.report_codec import pack_report, unpack_report
from celery_mailproxy.errors import InvalidReport

AT = datetime.fromtimestamp(1795324468, timezone.utc)
ARRIVED = AT + timedelta(hours=1)


def body(*entries: Any) -> bytes:
    return json.dumps({"delivery_report": entries}).encode()


def test_public_names_are_sorted() -> None:
    assert reports.__all__ == sorted(reports.__all__)


def test_entry_of_0_5_0() -> None:
    entry = {"id": "m1", "sent_ts": 1795324468, "error_ts": None, "error": None}
    (report,) = parse_entry(entry)
    assert (report.kind, report.message_id, report.at, report.reason) == (Kind.SENT, "m1", AT, None)
    assert report.raw == entry


@pytest.mark.parametrize(
    ("entry", "kind", "fields"),
    [
        ({"sent_ts": 1795324468}, Kind.SENT, {}),
        ({"error_ts": 1795324468, "error": "no account"}, Kind.ERROR, {"reason": "no account"}),
        (
            {"deferred_ts": 1795324468, "deferred_reason": "rate_limit"},
            Kind.DEFERRED,
            {"reason": "rate_limit", "code": "rate_limit"},
        ),
        (
            {"bounce_ts": 1795324468, "bounce_type": "hard", "bounce_code": "550", "bounce_reason": "no such user"},
            Kind.BOUNCED,
            {"reason": "no such user", "code": "550", "bounce_type": "hard"},
        ),
        (
            {"pec_ts": 1795324468, "pec_event": "pec_delivery", "pec_details": "ok"},
            Kind.PEC,
            {"reason": "ok", "pec_event": "pec_delivery"},
        ),
    ],
)
def test_entry_of_the_later_releases(entry: dict[str, Any], kind: Kind, fields: dict[str, str]) -> None:
    (report,) = parse_entry({"id": "m", **entry}, tenant_id="t1")
    assert (report.kind, report.at, report.tenant_id) == (kind, AT, "t1")
    assert {name: getattr(report, name) for name in fields} == fields


@pytest.mark.parametrize(
    ("entry", "code"),
    [
        # 0.5.0, then the later releases.
        ({"sent_ts": None, "error_ts": 1795324468, "error": "rate_limit_exceeded"}, "rate_limit"),
        ({"error_ts": 1795324468, "error": "rate_limit_exceeded"}, "rate_limit"),
        ({"error_ts": 1795324468, "error": "(554, '5.7.1 rate_limit exceeded') (SMTP 554)"}, None),
        ({"deferred_ts": 1795324468, "deferred_reason": "(451, '4.7.1 rate_limit')"}, None),
    ],
)
def test_rate_limit_of_the_account_is_told_apart_from_an_smtp_error(entry: dict[str, Any], code: str | None) -> None:
    (report,) = parse_entry({"id": "m", **entry})
    assert report.code == code
    assert DeliveryReport.from_json(report.to_json()) == report


@pytest.mark.parametrize("entry", [{"deferred_reason": None}, {}])
def test_deferral_with_the_moment_of_the_next_try_is_no_event_in_the_future(entry: dict[str, Any]) -> None:
    before = utcnow()
    next_try = int(before.timestamp()) + 300
    entry = {"id": "m", "deferred_ts": next_try, **entry}
    (report,) = parse_entry(entry)
    assert before <= report.at <= utcnow()
    assert report.retry_at == datetime.fromtimestamp(next_try, timezone.utc)
    assert report.reason is None
    # It may come twice, and is kept in between.
    (again,) = parse_entry(entry)
    kept = unpack_report(pack_report(report), Kind.DEFERRED, "m")
    written = DeliveryReport.from_json(json.loads(json.dumps(report.to_json())))
    assert report.key == again.key == kept.key == written.key == f"deferred:{next_try}"
    assert report == kept == written
    assert report.to_json()["retry_at"] == datetime.fromtimestamp(next_try, timezone.utc).isoformat()


def test_deferral_that_comes_after_its_next_try_is_in_the_past() -> None:
    (report,) = parse_entry({"id": "m", "deferred_ts": 1795324468, "deferred_reason": None})
    assert report.retry_at == AT
    assert report.at <= AT


def test_deferral_with_a_reason_says_when_it_was_tried() -> None:
    (report,) = parse_entry({"id": "m", "deferred_ts": 1795324468, "deferred_reason": "rate_limit"})
    assert (report.at, report.retry_at) == (AT, None)
    assert "retry_at" not in report.to_json()
    assert DeliveryReport(kind=Kind.SENT, message_id="m", at=AT, raw={"deferred_ts": 5}).retry_at is None


def test_entry_with_several_times_is_several_reports_oldest_first() -> None:
    found = parse_entry({"id": "m", "sent_ts": 20, "deferred_ts": 10, "bounce_ts": 30})
    assert [report.kind for report in found] == [Kind.DEFERRED, Kind.SENT, Kind.BOUNCED]


def test_reason_is_cut_and_made_a_text() -> None:
    (report,) = parse_entry({"id": "m", "error_ts": 1, "error": "x" * 5000})
    assert report.reason == "x" * 2000
    (report,) = parse_entry({"id": "m", "bounce_ts": 1, "bounce_code": 550})
    assert report.code == "550"


BAD_ENTRIES: list[Any] = [
    None,
    [],
    "m",
    {},
    {"id": ""},
    {"id": "x" * 256, "sent_ts": 1},
    {"id": 7, "sent_ts": 1},
    {"id": "m"},
    {"id": "m", "sent_ts": None},
    {"id": "m\nn", "sent_ts": 1},
    {"id": "m\x9b2J", "sent_ts": 1},
    {"id": "m\u202en", "sent_ts": 1},
    {"id": "m\ud800", "sent_ts": 1},
    {"id": "m", "sent_ts": ""},
    {"id": "m", "sent_ts": False},
    {"id": "m", "sent_ts": "", "error_ts": None, "deferred_ts": False},
]


@pytest.mark.parametrize("entry", BAD_ENTRIES, ids=lambda entry: repr(entry)[:30])
def test_bad_entry_is_set_aside_and_the_others_count(entry: Any) -> None:
    parsed = parse_reports(body({"id": "a", "sent_ts": 1}, entry, {"id": "b", "sent_ts": 1}), tenant_id="t")
    assert [report.message_id for report in parsed.reports] == ["a", "b"]
    (aside,) = parsed.set_aside
    assert aside.problem


@pytest.mark.parametrize(
    "written",
    [
        1795324468,
        1795324468.0,
        1795324468000,
        1795324468000000,
        1795324468000000000,
        "1795324468",
        " 1795324468.0 ",
        "1795324468000",
        "2026-11-22T05:14:28Z",
        "2026-11-22T05:14:28+00:00",
        "2026-11-22T06:14:28.000+01:00",
        "2026-11-22T00:14:28,000000000-0500",
        "2026-11-22T06:14:28+01",
        "2026-11-22t05:14:28.0z",
        "2026-11-22 05:14:28 +00:00",
        "2026-11-22 05:14:28",
        "1.795324468e9",
    ],
)
@pytest.mark.parametrize("name", ["sent_ts", "error_ts", "deferred_ts", "bounce_ts", "pec_ts"])
def test_a_time_is_read_in_whatever_form_is_clear(name: str, written: Any) -> None:
    (found,) = parse_entry({"id": "m", name: written})
    assert found.at == datetime(2026, 11, 22, 5, 14, 28, tzinfo=timezone.utc)
    assert DeliveryReport.from_json(found.to_json()) == found


def test_a_time_is_the_same_report_in_whatever_form() -> None:
    keys = {
        parse_entry({"id": "m", "sent_ts": written})[0].key for written in (1795324468, 1795324468000, "1795324468")
    }
    assert len(keys) == 1


@pytest.mark.parametrize("written", [0, 1, -1, 99_999_999_999, "0001-01-02T00:00:00Z", "9999-12-31T23:59:59Z"])
def test_an_odd_time_can_be_written_again(written: Any) -> None:
    (found,) = parse_entry({"id": "m", "sent_ts": written}, arrived_at=ARRIVED)
    assert found.at != ARRIVED
    assert DeliveryReport.from_json(found.to_json()).key == found.key


UNCLEAR_TIMES: list[Any] = [
    "soon",
    " ",
    "1" * 100,
    "nan",
    "1_795_324_468",
    "20261122T051428Z",
    "2026-11-22",
    "2026-W47-7T05:14:28",
    "2026-02-30T05:14:28Z",
    "2026-11-22T05:14:28+25:00",
    "9999-12-31T23:59:59-10:00",
    True,
    [1],
    {"seconds": 1},
    1e300,
    10**400,
    -99_999_999_999,
    -(10**15),
    float("nan"),
    float("inf"),
]


@pytest.mark.parametrize("written", UNCLEAR_TIMES, ids=lambda written: repr(written)[:30])
@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("sent_ts", Kind.SENT),
        ("error_ts", Kind.ERROR),
        ("deferred_ts", Kind.DEFERRED),
        ("bounce_ts", Kind.BOUNCED),
        ("pec_ts", Kind.PEC),
    ],
)
def test_an_outcome_whose_time_is_unclear_counts_from_its_arrival(name: str, kind: Kind, written: Any) -> None:
    text = body({"id": "a", "sent_ts": 1}, {"id": "m", name: written, "error": "550"}, {"id": "b", "sent_ts": 1})
    parsed = parse_reports(text, tenant_id="t", clock=lambda: ARRIVED)
    assert parsed.set_aside == ()
    _, found, _ = parsed.reports
    assert (found.message_id, found.kind, found.at) == ("m", kind, ARRIVED)
    (untimed,) = parsed.untimed
    assert untimed.message_id == "m"
    assert untimed.problem.startswith(f"{name} must be a number of unix seconds, got ")
    assert len(untimed.problem) < 100
    assert DeliveryReport.from_json(json.loads(json.dumps(found.to_json()))).key == found.key


def test_what_has_a_clear_time_comes_before_what_has_none() -> None:
    parsed = parse_reports(body({"id": "m", "error_ts": "soon", "sent_ts": 1795324468}), clock=lambda: ARRIVED)
    assert [(report.kind, report.at) for report in parsed.reports] == [(Kind.SENT, AT), (Kind.ERROR, ARRIVED)]


def test_without_a_clock_a_report_arrives_now() -> None:
    before = reports.utcnow()
    (found,) = parse_entry({"id": "m", "sent_ts": "soon"})
    assert before <= found.at <= reports.utcnow()


def test_a_time_that_says_nothing_is_as_null() -> None:
    (found,) = parse_entry({"id": "m", "sent_ts": "", "deferred_ts": False, "error_ts": 1795324468})
    assert (found.kind, found.at) == (Kind.ERROR, AT)


def test_entry_set_aside_is_named_by_its_id() -> None:
    (aside,) = parse_reports(body({"id": "m9", "sent_ts": None})).set_aside
    assert aside.message_id == "m9"
    assert "none of sent_ts" in aside.problem


@pytest.mark.parametrize(
    "text", [b"", b"{", b"\xff\xfe", b"[]", b"7", b"{}", b'{"delivery_report": {}}', b"[" * 100_000, b"9" * 5000]
)
def test_body_of_another_shape_is_refused(text: bytes) -> None:
    with pytest.raises(InvalidReport, match="the body must be"):
        parse_reports(text)


def test_empty_body_of_the_periodic_sync() -> None:
    parsed = parse_reports(body())
    assert (parsed.reports, parsed.set_aside) == ((), ())


@given(st.binary(max_size=60) | st.recursive(st.none() | st.floats() | st.text(), st.lists).map(body))
def test_nothing_but_invalid_report_is_ever_raised(text: bytes) -> None:
    with contextlib.suppress(InvalidReport):
        parse_reports(text)


@given(
    st.builds(
        DeliveryReport,
        kind=st.sampled_from(Kind),
        message_id=st.text(min_size=1),
        at=st.integers(-(10**15), 10**16).map(lambda number: AT + timedelta(microseconds=number)),
        reason=st.none() | st.text(),
        code=st.none() | st.text(),
        bounce_type=st.none() | st.text(),
        pec_event=st.none() | st.text(),
        tenant_id=st.none() | st.text(),
        via=st.text(),
        raw=st.dictionaries(st.text(), st.integers() | st.text()),
    )
)
def test_report_comes_back_from_json(report: DeliveryReport) -> None:
    assert DeliveryReport.from_json(json.loads(json.dumps(report.to_json()))) == report


@pytest.mark.parametrize("data", [{}, {"kind": "odd"}, [], None, {"kind": "sent", "message_id": "m", "at": "soon"}])
def test_what_to_json_did_not_write_is_refused(data: Any) -> None:
    with pytest.raises(InvalidReport, match=r"not a report written by DeliveryReport\.to_json"):
        DeliveryReport.from_json(data)


def test_naive_time_is_refused() -> None:
    with pytest.raises(InvalidReport, match="aware"):
        DeliveryReport(kind=Kind.SENT, message_id="m", at=AT.replace(tzinfo=None))


def test_key_tells_reports_of_one_message_apart() -> None:
    def key(kind: Kind, second: float = 0, **fields: Any) -> str:
        return DeliveryReport(kind=kind, message_id="m", at=AT + timedelta(seconds=second), **fields).key

    assert key(Kind.SENT) == "sent:1795324468"
    assert key(Kind.SENT) != key(Kind.SENT, 1)
    assert key(Kind.DEFERRED) != key(Kind.ERROR)
    assert key(Kind.BOUNCED, code="550") != key(Kind.BOUNCED, code="551")
    assert key(Kind.BOUNCED, event_id="a") != key(Kind.BOUNCED, event_id="b")
    assert key(Kind.BOUNCED, event_id="a") == key(Kind.BOUNCED, 9, event_id="a", recipient="a@x.de")
    assert key(Kind.PEC, pec_event="acceptance") != key(Kind.PEC, pec_event="delivery")
    # The proxy counts in seconds; two tries by SMTP may lie within one.
    assert key(Kind.DEFERRED) == key(Kind.DEFERRED, 0.2)
    assert key(Kind.DEFERRED, via="legacy") != key(Kind.DEFERRED, 0.2, via="legacy")
    # The answer to a submission has no time of its own.
    assert key(Kind.QUEUED) == key(Kind.QUEUED, 9)
    assert key(Kind.REJECTED) == key(Kind.REJECTED, 9)


def test_repr_shows_no_reason() -> None:
    assert "j@e.com" not in repr(parse_entry({"id": "m", "error_ts": 1, "error": "550 j@e.com"})[0])
