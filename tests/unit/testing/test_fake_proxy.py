"""What `FakeProxy` does beyond the contract: planned outcomes, planned failures, reports on demand."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any, Literal

import httpx
import pytest

from celery_mailproxy.testing import FakeProxy
from celery_mailproxy.testing.outcomes import bounced, deferred, error, pec, sent
from tests.harness.report_sink import ReportSink
from tests.harness.waiting import wait_until
from tests.unit.testing.messages import kinds, message

API = Literal["commands", "commands-0.6", "entities", "v1"]


@pytest.fixture
def proxy(report_sink: ReportSink) -> Iterator[FakeProxy]:
    with FakeProxy() as proxy:
        proxy.report_to(report_sink.url, bearer_token="secret")
        yield proxy


class TestOutcomes:
    @pytest.mark.parametrize(
        "match", ["m", "to@example.com", lambda message: message["subject"] == "Subject"], ids=["id", "to", "function"]
    )
    def test_plan_matches_by_id_recipient_or_function(
        self, proxy: FakeProxy, report_sink: ReportSink, match: Any
    ) -> None:
        proxy.plan(match, error("550 no such user"))
        proxy.submit([message("m", to="To <to@example.com>" if match == "to@example.com" else "to@example.com")])
        assert report_sink.wait_for_reports(1)[0]["error"] == "550 no such user"
        assert proxy.delivered == []

    def test_plan_matches_the_envelope_of_a_mail_that_shows_more(
        self, proxy: FakeProxy, report_sink: ReportSink
    ) -> None:
        proxy.plan("bob@example.com", error("550 no such user"))
        for name in ("ann", "bob"):
            resent = {"Resent-Date": "Sun, 22 Nov 2026 11:00:00 +0000", "Resent-Bcc": f"{name}@example.com"}
            proxy.submit([message(name, to=["ann@example.com", "bob@example.com"], headers=resent)])
        reports = {entry["id"]: entry for entry in report_sink.wait_for_reports(2)}
        assert reports["bob"]["error"] == "550 no such user"
        assert "sent_ts" in reports["ann"]

    def test_later_plan_goes_before_an_earlier_one(self, proxy: FakeProxy, report_sink: ReportSink) -> None:
        proxy.plan("m", error())
        proxy.plan("m", sent())
        proxy.submit([message("m")])
        assert kinds(report_sink.wait_for_reports(1)) == ["sent_ts"]

    def test_steps_are_taken_and_reported_in_order(self, proxy: FakeProxy, report_sink: ReportSink) -> None:
        proxy.plan("m", deferred(), deferred(), sent(), pec("pec_delivery", details="ok"), bounced())
        proxy.submit([message("m")])
        reports = report_sink.wait_for_reports(5)
        assert kinds(reports) == ["deferred_ts", "deferred_ts", "sent_ts", "pec_ts", "bounce_ts"]
        assert reports[0]["deferred_reason"] == "rate_limit"
        assert reports[3] == {
            "id": "m",
            "pec_event": "pec_delivery",
            "pec_ts": reports[3]["pec_ts"],
            "pec_details": "ok",
        }
        bounce = {"bounce_type": "hard", "bounce_code": "550", "bounce_reason": "no such user"}
        assert reports[4] == {"id": "m", "bounce_ts": reports[4]["bounce_ts"], **bounce}

    def test_0_7_0_loses_what_a_server_deferred(self, proxy: FakeProxy, report_sink: ReportSink) -> None:
        proxy.plan("m", deferred("451 later"), sent())
        proxy.submit([message("m", batch_code="spring")])
        reports = report_sink.wait_for_reports(2)
        assert (reports[0]["deferred_reason"], reports[1]["error"]) == ("451 later", "missing 'from'")
        (row,) = proxy.messages(proxy.tenant_id)
        # It is all there, in a place where the proxy does not look for it.
        assert (row["status"], row["message"]["id"], row["message"]["batch_code"]) == ("error", "m", "spring")
        assert row["message"]["message"]["subject"] == "Subject"
        assert proxy.delivered == []

    def test_what_is_submitted_again_in_time_is_not_lost(self, proxy: FakeProxy, report_sink: ReportSink) -> None:
        proxy.plan("m", deferred("451 later"), sent(delay_seconds=3600))
        proxy.submit([message("m")])
        report_sink.wait_for_reports(1)
        assert proxy.submit([message("m", deferred_ts=int(time.time()) + 60)]).json()["queued"] == 1
        assert kinds(report_sink.wait_for_reports(2)) == ["deferred_ts", "sent_ts"]
        assert len(proxy.delivered) == 1

    def test_what_is_deleted_and_submitted_again_goes_on_with_its_steps(
        self, proxy: FakeProxy, report_sink: ReportSink
    ) -> None:
        proxy.plan("m", deferred("451 later"), deferred("452 full"), error("554 refused"))
        for number in range(2):
            if number:
                proxy.delete_messages(proxy.tenant_id, ["m"])
            proxy.submit([message("m")])
            report_sink.wait_for_reports(2 * number + 2)
        texts = [each.get("deferred_reason") or each["error"] for each in report_sink.wait_for_reports(4)]
        assert texts == ["451 later", "missing 'from'", "452 full", "missing 'from'"]

    def test_what_its_own_limits_defer_is_not_lost(self, proxy: FakeProxy, report_sink: ReportSink) -> None:
        proxy.plan("m", deferred("rate_limit"), sent())
        proxy.submit([message("m")])
        assert kinds(report_sink.wait_for_reports(2)) == ["deferred_ts", "sent_ts"]

    def test_0_5_0_reports_sent_and_error_only(self, report_sink: ReportSink) -> None:
        with FakeProxy("commands") as proxy:
            proxy.report_to(report_sink.url)
            proxy.plan("m", deferred(), sent(), bounced())
            proxy.submit([message("m")])
            (report,) = report_sink.wait_for_reports(1)
            assert set(report) == {"id", "sent_ts", "error_ts", "error"}
            assert len(report_sink.requests) == 1

    @pytest.mark.parametrize("api", ["commands-0.6", "v1"])
    def test_deferred_mail_of_0_6_and_v1_is_reported_with_its_next_try(self, api: API, report_sink: ReportSink) -> None:
        with FakeProxy(api) as proxy:
            proxy.report_to(report_sink.url)
            proxy.plan("m", deferred("451 later"), sent(delay_seconds=3600))
            proxy.submit([message("m")])
            (report,) = report_sink.wait_for_reports(1)
            assert report.pop("deferred_ts") > time.time() + 3000
            assert report == {"id": "m", "deferred_reason": None}

    def test_step_waits_for_its_delay(self, proxy: FakeProxy, report_sink: ReportSink) -> None:
        proxy.plan("m", deferred(), sent(delay_seconds=0.3))
        proxy.plan("long", deferred(), sent(delay_seconds=3600))
        proxy.submit([message("m")])
        report_sink.wait_for_reports(2)
        proxy.submit([message("long")])
        report_sink.wait_for_reports(3)
        assert [known["status"] for known in proxy.messages(proxy.tenant_id)] == ["sent", "deferred"]

    def test_mail_without_steps_is_never_heard_of(self, proxy: FakeProxy, report_sink: ReportSink) -> None:
        proxy.plan("silent")
        proxy.submit([message("silent"), message("after")])
        assert [report["id"] for report in report_sink.wait_for_reports(1)] == ["after"]
        assert [known["status"] for known in proxy.messages(proxy.tenant_id)] == ["pending", "sent"]

    def test_what_was_submitted_and_what_was_sent_are_kept(self, proxy: FakeProxy, report_sink: ReportSink) -> None:
        proxy.plan("bad", error())
        proxy.submit([message("good"), message("bad")])
        report_sink.wait_for_reports(2)
        proxy.submit([message("good")])
        assert [known["id"] for known in proxy.received] == ["good", "bad", "good"]
        assert [known["subject"] for known in proxy.delivered] == ["Subject"]
        submissions = [request for request in proxy.requests if request.path == "/messages/add_batch"]
        assert [len(request.json()["messages"]) for request in submissions] == [2, 1]
        assert {request.status for request in submissions} == {200}


class TestReportsOnDemand:
    @pytest.fixture
    def manual(self, report_sink: ReportSink) -> Iterator[FakeProxy]:
        with FakeProxy(reports=False) as proxy:
            proxy.report_to(report_sink.url, bearer_token="secret")
            yield proxy

    def test_reports_wait_until_they_are_sent(self, manual: FakeProxy, report_sink: ReportSink) -> None:
        manual.submit([message("a"), message("b")])
        assert manual.send_reports() == 2
        assert [report["id"] for report in report_sink.requests[0].reports] == ["a", "b"]
        assert manual.pending_reports == []
        assert manual.send_reports() == 0

    def test_refused_reports_stay_pending(self, manual: FakeProxy, report_sink: ReportSink) -> None:
        report_sink.answer_next(503)
        manual.submit([message("a")])
        assert manual.send_reports() == 0
        assert [report["id"] for report in manual.pending_reports] == ["a"]
        assert manual.send_reports() == 1

    def test_reports_can_be_repeated_and_reversed(self, manual: FakeProxy, report_sink: ReportSink) -> None:
        manual.submit([message("a"), message("b")])
        assert manual.send_reports(repeat=2, reverse=True) == 2
        assert [[report["id"] for report in request.reports] for request in report_sink.requests] == [["b", "a"]] * 2

    @pytest.mark.parametrize("api", ["commands", "commands-0.6", "entities", "v1"])
    def test_any_entry_can_be_reported(self, api: API, report_sink: ReportSink) -> None:
        with FakeProxy(api) as proxy:
            proxy.report_to(report_sink.url, basic_auth=("user", "secret"))
            answer = proxy.report(proxy.entry("m", error("why"), timestamp=7), {"nonsense": True})
            assert answer.json()["ok"] is True
            (request,) = report_sink.requests
            assert request.reports[0]["error_ts"] == 7
            assert request.reports[1] == {"nonsense": True}
            assert request.headers["Authorization"].startswith("Basic ")

    def test_entry_that_a_release_never_reports_is_an_error(self) -> None:
        with pytest.raises(ValueError, match="sent and error only, got 'deferred'"):
            FakeProxy("commands").entry("m", deferred())

    def test_report_without_a_url_says_what_to_do(self, manual: FakeProxy) -> None:
        manual.add_tenant("elsewhere")
        with pytest.raises(ValueError, match="call report_to"):
            manual.report({"id": "m"}, tenant_id="elsewhere")

    def test_reports_that_nobody_takes_come_when_there_is_a_url(self, report_sink: ReportSink) -> None:
        with FakeProxy() as proxy:
            proxy.submit([message("m")])
            proxy.report_to(report_sink.url)
            assert report_sink.wait_for_reports(1)[0]["id"] == "m"

    def test_refused_reports_come_again_by_themselves(self, report_sink: ReportSink) -> None:
        with FakeProxy(resend_seconds=0.05) as proxy:
            proxy.report_to(report_sink.url)
            report_sink.answer_next(503, 503)
            proxy.submit([message("m")])
            report_sink.wait_for_reports(3)
            assert len(report_sink.requests) == 3

    def test_large_reports_come_in_batches(self, report_sink: ReportSink) -> None:
        with FakeProxy(batch_size=3, reports=False) as proxy:
            proxy.report_to(report_sink.url)
            proxy.submit([message(f"m{number}") for number in range(7)])
            assert proxy.send_reports() == 7
            assert [len(request.reports) for request in report_sink.requests] == [3, 3, 1]

    def test_report_can_overtake_the_answer(self, report_sink: ReportSink) -> None:
        with FakeProxy(report_before_answer=True) as proxy:
            proxy.report_to(report_sink.url)
            proxy.submit([message("m")])
            # No waiting: the report was there before the answer.
            assert [report["id"] for report in report_sink.requests[0].reports] == ["m"]


class TestFailures:
    def test_failing_submission_is_not_taken(self, proxy: FakeProxy) -> None:
        proxy.fail_next(2, status=429, retry_after_seconds=7)
        for _ in range(2):
            answer = proxy.submit([message("m")])
            assert (answer.status_code, answer.headers["Retry-After"]) == (429, "7")
        assert proxy.received == []
        assert proxy.submit([message("m")]).status_code == 200

    def test_failing_submission_may_be_taken(self, proxy: FakeProxy) -> None:
        proxy.fail_next(status=502, accepted=True)
        assert proxy.submit([message("m")]).status_code == 502
        assert [known["id"] for known in proxy.received] == ["m"]

    def test_other_requests_do_not_fail_unless_asked(self, proxy: FakeProxy) -> None:
        proxy.fail_next()
        assert proxy.messages(proxy.tenant_id) == []
        # Nothing is submitted: a client asks so which API this is.
        assert proxy.submit([]).status_code == 200
        assert proxy.submit([message("m")]).status_code == 503
        proxy.fail_next(status=500, any_request=True)
        with pytest.raises(httpx.HTTPStatusError):
            proxy.messages(proxy.tenant_id)

    def test_answer_can_be_lost(self, proxy: FakeProxy) -> None:
        proxy.lose_next_answer()
        with pytest.raises(httpx.RemoteProtocolError):
            proxy.submit([message("m")])
        assert [known["id"] for known in proxy.received] == ["m"]
        assert proxy.requests[-1].status is None
        assert proxy.submit([message("m")]).status_code == 200

    def test_answer_can_hang_until_the_client_gives_up(self, proxy: FakeProxy) -> None:
        proxy.lose_next_answer(hang_seconds=60)
        body, headers = {"messages": [message("m")]}, {"X-API-Token": proxy.token}
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(f"{proxy.url}/messages/add_batch", json=body, headers=headers, timeout=1, trust_env=False)
        # Who gives up early has sent all the same.
        wait_until(lambda: proxy.received)
        assert [known["id"] for known in proxy.received] == ["m"]

    def test_request_can_be_lost_before_it_is_taken(self, proxy: FakeProxy) -> None:
        proxy.lose_next_answer(accepted=False)
        with pytest.raises(httpx.RemoteProtocolError):
            proxy.submit([message("m")])
        assert proxy.received == []

    def test_connections_are_refused_while_it_is_down(self, proxy: FakeProxy, report_sink: ReportSink) -> None:
        proxy.submit([message("before")])
        report_sink.wait_for_reports(1)
        with proxy.down(), pytest.raises(httpx.ConnectError):
            proxy.submit([message("m")])
        proxy.submit([message("after")])
        assert [known["id"] for known in proxy.received] == ["before", "after"]

    def test_stopping_does_not_wait_for_open_connections(self, report_sink: ReportSink) -> None:
        proxy = FakeProxy()
        proxy.start()
        with httpx.Client(base_url=proxy.url, trust_env=False) as client:
            client.get("/health")
            # If it waited for the client, it would do so until the test is given up.
            proxy.stop()
            with pytest.raises(httpx.TransportError):
                client.get("/health")

    def test_proxy_that_is_not_running_says_so(self) -> None:
        with pytest.raises(RuntimeError, match="not running"):
            FakeProxy().fail_next()


def test_thousands_of_mails_are_reported_in_a_few_batches(report_sink: ReportSink) -> None:
    with FakeProxy() as proxy:
        proxy.report_to(report_sink.url)
        for start in range(0, 3000, 100):
            proxy.submit([message(f"m{number}") for number in range(start, start + 100)])
        report_sink.wait_for_reports(3000)
        # Not in seconds: a busy machine is slow, but its batches are the larger for it.
        assert len(report_sink.requests) < 300
        assert len(proxy.delivered) == 3000
