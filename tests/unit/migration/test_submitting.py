"""Fallback and breaker: a mail falls back to the legacy transport only where the proxy surely has not got it."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from celery_mailproxy.conf.settings import MigrationSettings
from celery_mailproxy.deliveries.stores import Retention
from celery_mailproxy.deliveries.stores.memory import MemoryStore
from celery_mailproxy.dispatch.counters import Counters, counters_of
from celery_mailproxy.dispatch.dispatcher import dispatcher_of
from celery_mailproxy.errors import UnforeseenError
from celery_mailproxy.migration.breaker import Breaker, BreakerState, get_breaker
from celery_mailproxy.migration.legacy import LegacyMail
from celery_mailproxy.tasks.sending import handover
from celery_mailproxy.tasks.sending.arguments import one_outgoing
from celery_mailproxy.tasks.sending.submitter import submitter_of
from celery_mailproxy.testing import FakeProxy

from .migrated_app import Migrated, migrated
from .test_wrapping import MAIL, task_of

UNREACHABLE: dict[str, Any] = {"share": 1, "fallback": "unreachable"}


def via(one: Migrated) -> list[tuple[str, str]]:
    return [(name, way) for name, _, way in one.told]


def test_a_refused_connection_sends_the_mail_the_legacy_way(proxy: FakeProxy) -> None:
    with migrated(proxy, **UNREACHABLE) as one, proxy.down():
        assert one.run(task_of(one), 7) == ("SUCCESS", "sent 7")
        assert via(one) == [("mail_queued", "legacy"), ("mail_sent", "legacy")]


def test_a_wrong_token_sends_the_mail_the_legacy_way(proxy: FakeProxy) -> None:
    with migrated(proxy, token="another", **UNREACHABLE) as one:
        assert one.run(task_of(one), 7) == ("SUCCESS", "sent 7")
        assert via(one) == [("mail_queued", "legacy"), ("mail_sent", "legacy")]
        assert proxy.received == []


def test_a_mail_that_may_be_there_waits_for_the_right_token(proxy: FakeProxy) -> None:
    with migrated(proxy, token="another", **UNREACHABLE) as one:
        task = task_of(one)
        outgoing = one_outgoing(
            (), {**MAIL, "message_id": "task-1"}, settings=one.runtime.settings, message_id="task-1"
        )
        # As a worker leaves it that dies in the midst of its first try.
        submitter_of(one.runtime).register([outgoing], task_id="task-1")
        assert one.run(task, 7)[0] == "RETRY"
        assert (one.sent, one.told) == ([], [])


def test_never_means_never(proxy: FakeProxy) -> None:
    with migrated(proxy, share=1, fallback="never") as one, proxy.down():
        assert one.run(task_of(one), 7)[0] == "RETRY"
        assert (one.sent, one.told) == ([], [])


def test_after_a_lost_answer_a_mail_stays_with_the_proxy_though_that_goes_down(proxy: FakeProxy) -> None:
    with migrated(proxy, **UNREACHABLE) as one:
        task = task_of(one)
        proxy.lose_next_answer()
        assert one.run(task, 7)[0] == "RETRY"
        with proxy.down():
            for retries in range(1, 9):
                # Also while the breaker is open.
                assert one.run(task, 7, retries=retries)[0] == "RETRY"
        get_breaker(one.runtime, "default")._change("closed", problem="")
        # The first call may find a connection that was closed behind its back.
        assert "SUCCESS" in (one.run(task, 7, retries=retries)[0] for retries in (9, 10, 11))
        assert one.sent == []
        assert len(proxy.received) == 1


@pytest.mark.parametrize("status", [302, 401, 403, 404, 405, 407, 421])
def test_an_answer_that_turns_the_call_away_sends_the_mail_the_legacy_way(proxy: FakeProxy, status: int) -> None:
    with migrated(proxy, **UNREACHABLE) as one:
        proxy.fail_next(status=status)
        assert one.run(task_of(one), 7) == ("SUCCESS", "sent 7")
        assert via(one) == [("mail_queued", "legacy"), ("mail_sent", "legacy")]


def test_an_unforeseen_error_of_a_migrated_task_is_tried_again_and_ends(
    proxy: FakeProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: Any, **kwargs: Any) -> Any:
        raise RuntimeError("nobody foresaw this")

    with migrated(proxy, **UNREACHABLE) as one:
        monkeypatch.setattr(handover, "encode", fail)
        task = task_of(one)
        # The task's own limit, which was meant for SMTP, does not count.
        for retries in (0, 3, 299):
            assert one.run(task, 7, retries=retries)[0] == "RETRY"
        state, error = one.run(task, 7, retries=300)
        assert (state, type(error)) == ("FAILURE", UnforeseenError)
        assert (one.sent, via(one)) == ([], [("mail_error", "proxy")])


def test_what_the_body_raises_is_the_applications_own(proxy: FakeProxy) -> None:
    def fail(*args: Any) -> Any:
        raise RuntimeError("the application's own")

    with migrated(proxy, share=0) as one:
        task = task_of(one)
        one.body = fail
        state, error = one.run(task, 7)
        assert (state, type(error)) == ("FAILURE", RuntimeError)
        assert via(one) == [("mail_queued", "legacy"), ("mail_error", "legacy")]


def test_what_fails_before_the_body_runs_is_tried_again(proxy: FakeProxy, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: Any) -> Any:
        raise RuntimeError("nobody foresaw this")

    with migrated(proxy, share=0) as one:
        task = task_of(one)
        with monkeypatch.context() as patch:
            patch.setattr(LegacyMail, "begin", fail)
            assert one.run(task, 7)[0] == "RETRY"
            assert one.sent == []
        assert one.run(task, 7, retries=1) == ("SUCCESS", "sent 7")


def test_a_mail_that_smtp_has_taken_is_not_sent_again_for_an_error_in_its_report(
    proxy: FakeProxy, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*args: Any, **kwargs: Any) -> Any:
        raise RuntimeError("nobody foresaw ann@example.com")

    with migrated(proxy, share=0) as one:
        task = task_of(one)

        def body(task: Any, order: int) -> str:
            monkeypatch.setattr(dispatcher_of(one.runtime), "dispatch", fail)
            return f"sent {order}"

        one.body = body
        assert one.run(task, 7) == ("SUCCESS", "sent 7")
    assert "ann@example.com" not in caplog.text


@pytest.mark.parametrize("status", [200, 202, 408, 425, 429, 500, 503])
def test_an_answer_of_trouble_is_no_refused_connection(proxy: FakeProxy, status: int) -> None:
    with migrated(proxy, **UNREACHABLE) as one:
        proxy.fail_next(status=status)
        assert one.run(task_of(one), 7)[0] == "RETRY"
        assert one.sent == []


def test_a_worker_that_died_after_the_submission_does_not_send_it_the_legacy_way(proxy: FakeProxy) -> None:
    with migrated(proxy, **UNREACHABLE) as one:
        task = task_of(one)
        assert one.run(task, 7)[0] == "SUCCESS"
        with proxy.down():
            assert one.run(task, 7) == ("SUCCESS", {"id": "task-1", "queued": 1, "rejected": []})
        assert one.sent == []


def test_a_mail_that_has_fallen_back_stays_there_though_the_proxy_comes_up(proxy: FakeProxy) -> None:
    with migrated(proxy, **UNREACHABLE) as one:
        task = task_of(one)
        one.body = lambda self, order: (_ for _ in ()).throw(self.retry(exc=OSError("SMTP away"), throw=False))
        with proxy.down():
            assert one.run(task, 7)[0] == "RETRY"
        one.body = None
        assert one.run(task, 7, retries=1) == ("SUCCESS", "sent 7")
        assert proxy.received == []
        assert via(one) == [("mail_queued", "legacy"), ("mail_deferred", "legacy"), ("mail_sent", "legacy")]


def test_the_breaker_keeps_mails_from_a_proxy_that_is_away(proxy: FakeProxy, caplog: pytest.LogCaptureFixture) -> None:
    with migrated(proxy, **UNREACHABLE, breaker_failures=2, breaker_seconds=3600) as one:
        task = task_of(one)
        with proxy.down(), caplog.at_level(logging.WARNING):
            for number in range(3):
                assert one.run(task, number, task_id=f"task-{number}")[0] == "SUCCESS"
        assert one.run(task, 3, task_id="task-3") == ("SUCCESS", "sent 3")
        assert proxy.received == []
        assert "is not tried for 3600 s" in caplog.text
        assert ("mail-breaker-opened", {"server": "default"}) in one.events
        counted = counters_of(one.runtime).since(one.runtime.store.clock())
        assert (counted["breaker/opened"], counted["legacy/sent"]) == (1, 4)


class Parts:
    """A breaker of each of two processes, on one store, with a clock that tests set."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.store = MemoryStore(Retention())
        self.events: list[str] = []
        self.one, self.other = self.breaker(), self.breaker()

    def breaker(self) -> Breaker:
        return Breaker(
            "default",
            store=self.store,
            failures=3,
            seconds=30,
            counters=Counters(self.store),
            emit=lambda event, fields: self.events.append(event),
            clock=lambda: self.now,
        )

    @property
    def state(self) -> str:
        """As the other process sees it."""
        return self.other.state.name


def test_the_breaker_opens_probes_and_closes_for_all_processes() -> None:
    parts = Parts()
    for _ in range(3):
        assert parts.one.allows()
        parts.one.failed("refused")
    parts.now += 2
    assert not parts.one.allows()
    assert not parts.other.allows()
    parts.now += 30
    assert parts.other.allows()
    parts.now += 2
    assert not parts.one.allows()
    parts.other.failed("refused")
    assert parts.state == "open"
    parts.now += 31
    assert parts.one.allows()
    parts.one.succeeded()
    parts.now += 2
    assert parts.other.allows()
    assert parts.state == "closed"
    assert parts.events == [
        "mail-breaker-opened",
        "mail-breaker-probed",
        "mail-breaker-opened",
        "mail-breaker-probed",
        "mail-breaker-closed",
    ]


def test_failures_with_successes_between_do_not_open_it() -> None:
    parts = Parts()
    for _ in range(10):
        parts.one.failed("refused")
        parts.one.failed("refused")
        parts.one.succeeded()
    assert parts.one.state == BreakerState()
    assert parts.events == []


def test_a_probe_that_is_never_heard_of_again_is_repeated() -> None:
    parts = Parts()
    for _ in range(3):
        parts.one.failed("refused")
    parts.now += 31
    assert parts.one.allows()
    parts.now += 29
    assert not parts.other.allows()
    parts.now += 2
    assert parts.other.allows()


def test_the_defaults_are_in_the_settings() -> None:
    assert (MigrationSettings().fallback, MigrationSettings().breaker_failures) == ("never", 5)
