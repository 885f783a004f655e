"""Asking for mails, against scripted answers; `tests/contract/test_outcomes_contract.py` holds it to every proxy."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from typing import Any

import httpx
import pytest
from kombu.exceptions import OperationalError

from celery_mailproxy.conf.settings import ServerSettings
from celery_mailproxy.deliveries.delivery import Status
from celery_mailproxy.deliveries.losses import as_deferral
from celery_mailproxy.deliveries.report import DeliveryReport, Kind
from celery_mailproxy.deliveries.stores.memory import MemoryStore
from celery_mailproxy.deliveries.stores.retention import Retention
from celery_mailproxy.dispatch.keeping import ReportKeeper
from celery_mailproxy.dispatch.recorder import OutcomeRecorder
from celery_mailproxy.errors import ConfigurationError, ProxyUnavailable
from celery_mailproxy.outcomes.asking import Asker
from celery_mailproxy.outcomes.polling import Poller
from celery_mailproxy.outcomes.reconciling import Reconciler
from celery_mailproxy.outcomes.tally import Tally
from celery_mailproxy.outcomes.withdrawing import Withdrawer
from celery_mailproxy.proxy.api import SubmitAnswer
from celery_mailproxy.proxy.client import ProxyClient
from tests.contract.store_values import START, Clock, delivery, report

RETENTION = Retention(overdue_seconds=100)

APIS = ["commands-0.5", "commands-0.6", "entities", "v1"]


class Desk:
    """A store, and a proxy that answers as `answers` says: a path's end → (status, body); any other is a 404."""

    def __init__(self, api: Any = "entities", *, size: int = 2, heal: Callable[[str], None] | None = None) -> None:
        self.clock = Clock()
        self.store = MemoryStore(RETENTION, clock=self.clock)
        self.answers: dict[str, tuple[int, Any]] = {}
        self.asked: list[str] = []
        self.postponed: list[Sequence[DeliveryReport]] = []
        self.broker_error: Exception | None = None
        url = "http://proxy/mailproxy/v1" if api == "v1" else "http://proxy"
        server = ServerSettings(name="default", url=url, api=api)
        self.client = ProxyClient(server, transport=httpx.MockTransport(self._answer))
        self.asker = Asker(self._client_for)
        self.recorder = OutcomeRecorder(
            keeper=ReportKeeper(self.store, hold_seconds=300), postpone=self._postpone, chunk_size=size
        )
        self.reconciler = Reconciler(
            store=self.store,
            retention=RETENTION,
            asker=self.asker,
            recorder=self.recorder,
            withdrawer=Withdrawer(asker=self.asker, client_for=self._client_for),
            content_of=lambda each: None,
            resubmit=lambda out, each: SubmitAnswer(),
            heal=heal,
            clock=self.clock,
        )

    def _client_for(self, server: str) -> ProxyClient:
        if server != "default":
            raise ConfigurationError(f"no server {server!r}")
        return self.client

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request.url.path)
        found = [answer for end, answer in self.answers.items() if request.url.path.endswith(end)]
        status, body = found[0] if found else (404, {"detail": "Not Found"})
        if isinstance(body, str):
            return httpx.Response(status, text=body)
        return httpx.Response(status, json=body)

    def _postpone(self, reports: Sequence[DeliveryReport], **arguments: Any) -> None:
        if self.broker_error is not None:
            raise self.broker_error
        self.postponed.append(reports)

    def submit(self, *message_ids: str, **fields: Any) -> None:
        at = self.clock.now
        fields = {"tenant_id": "t1", "created_at": at, "updated_at": at, **fields}
        self.store.register([delivery(each, **fields) for each in message_ids])
        self.store.record([report(each, Kind.QUEUED) for each in message_ids], claim="c")

    def status(self, message_id: str = "m") -> Status:
        found = self.store.get(message_id)
        assert found is not None
        return found.status

    def lists(self, *rows: dict[str, Any]) -> None:
        """The rows that the proxy lists."""
        wrapped: Any = list(rows) if self.client.api.name == "entities" else {"ok": True, "messages": list(rows)}
        self.answers["/messages/list" if self.client.api.name == "entities" else "/messages"] = (200, wrapped)


@pytest.fixture(params=APIS)
def desk(request: pytest.FixtureRequest) -> Iterator[Desk]:
    desk = Desk(request.param)
    yield desk
    desk.client.close()


@pytest.mark.parametrize(
    "answer",
    [
        (500, None),
        (503, {"error": "later"}),
        (401, {"detail": "Invalid or missing API token"}),
        (404, {"detail": "Not Found"}),
        (422, {"detail": []}),
        (302, None),
        (200, "<html>maintenance</html>"),
        (200, None),
        (200, {}),
        (200, {"ok": False}),
        (200, {"ok": True, "messages": None}),
        (200, {"ok": True, "messages": ["m"]}),
        (200, [["m"]]),
        (200, 5),
    ],
    ids=str,
)
def test_no_answer_but_a_list_ends_a_mail_that_is_not_in_it(desk: Desk, answer: tuple[int, Any]) -> None:
    desk.submit("m")
    desk.clock.advance(101)
    for end in ("/messages", "/messages/list", "/messages/get"):
        desk.answers[end] = answer
    assert desk.reconciler.run() == Tally(looked_at=1, unanswered=1)
    assert (desk.status(), desk.postponed) == (Status.QUEUED, [])
    # It is asked for again, but not at once.
    assert desk.reconciler.run() == Tally()
    desk.answers.clear()
    desk.lists()
    desk.clock.advance(51)
    assert desk.reconciler.run() == Tally(looked_at=1, unknown=1)


def test_a_list_that_is_too_long_ends_no_mail(monkeypatch: pytest.MonkeyPatch, desk: Desk) -> None:
    desk.submit("m")
    desk.clock.advance(101)
    desk.lists({"id": "other", "payload": "x" * 70_000_000})
    assert desk.reconciler.run() == Tally(looked_at=1, unanswered=1)
    assert desk.status() is Status.QUEUED


def test_an_error_that_0_7_0_shows_as_sent_is_an_error() -> None:
    desk = Desk("entities")
    desk.submit("m")
    desk.clock.advance(101)
    moment = int(START.timestamp())
    desk.answers["/messages/get"] = (200, {"id": "m", "smtp_ts": moment, "status": "sent"})
    desk.lists({"id": "m", "smtp_ts": moment, "error_ts": moment, "error": "550 no such user"})
    assert desk.reconciler.run() == Tally(looked_at=1, error=1)
    found = desk.store.get("m")
    assert found is not None
    assert (found.status, found.reason) == (Status.ERROR, "550 no such user")
    desk.client.close()


def test_one_tenant_is_asked_once_for_many_mails(desk: Desk) -> None:
    ids = [f"m-{number}" for number in range(300)]
    desk.submit(*ids)
    desk.clock.advance(101)
    desk.lists(*({"id": each, "sent_ts": 1795324468} for each in ids))
    assert desk.reconciler.run() == Tally(looked_at=300, sent=300)
    assert len(desk.asked) == 1
    assert sorted(each.message_id for chunk in desk.postponed for each in chunk) == sorted(ids)
    assert {len(chunk) for chunk in desk.postponed} == {2}


def test_pages_are_bounded_and_progress_is_told(desk: Desk) -> None:
    ids = [f"m-{number}" for number in range(1200)]
    desk.submit(*ids)
    desk.clock.advance(101)
    desk.lists(*({"id": each, "sent_ts": 1795324468} for each in ids))
    seen: list[int] = []
    tally = desk.reconciler.run(on_page=lambda tally: seen.append(tally.looked_at))
    assert (tally, seen) == (Tally(looked_at=1200, sent=1200), [500, 1000, 1200])


def test_who_has_no_time_left_leaves_the_rest(desk: Desk) -> None:
    ids = [f"m-{number}" for number in range(700)]
    desk.submit(*ids)
    desk.clock.advance(101)
    desk.lists(*({"id": each, "sent_ts": 1795324468} for each in ids))
    turns = iter([True, False])
    assert desk.reconciler.run(lambda: next(turns)) == Tally(looked_at=500, sent=500)
    assert desk.reconciler.run() == Tally(looked_at=200, sent=200)


def test_of_two_one_asks(desk: Desk) -> None:
    assert desk.store.take_lease("reconcile", "another", seconds=60)
    assert desk.reconciler.run() is None
    assert desk.store.take_lease("reconcile", "another", seconds=0)
    assert desk.reconciler.run() == Tally()
    # It is given back at once.
    assert desk.store.take_lease("reconcile", "another", seconds=60)


@pytest.mark.parametrize("fields", [{"tenant_id": None}, {"tenant_id": ""}])
def test_a_mail_that_cannot_be_asked_for_is_named_and_never_ended(desk: Desk, fields: dict[str, Any]) -> None:
    desk.submit("m", **fields)
    desk.lists()
    for _ in range(3):
        desk.clock.advance(101)
        assert desk.reconciler.run() == Tally(looked_at=1, unanswered=1)
    assert [each.kind for chunk in desk.postponed for each in chunk] == [Kind.OVERDUE]
    assert desk.status() is Status.QUEUED


def test_mails_of_a_server_that_is_not_in_the_settings_wait(desk: Desk) -> None:
    desk.submit("gone", server="gone")
    desk.submit("m")
    desk.lists({"id": "m", "sent_ts": 1795324468})
    desk.clock.advance(101)
    assert desk.reconciler.run() == Tally(looked_at=2, sent=1, unanswered=1)
    assert desk.status("gone") is Status.QUEUED


def test_what_the_broker_does_not_take_is_left_to_the_sweep(desk: Desk) -> None:
    desk.submit("m")
    desk.clock.advance(101)
    desk.lists({"id": "m", "sent_ts": 1795324468})
    desk.broker_error = OperationalError("away")
    with pytest.raises(OperationalError):
        desk.reconciler.run()
    assert desk.status() is Status.SENT
    # Its claim has been let go of.
    (swept,) = desk.store.undispatched(before=desk.clock.now - timedelta(seconds=60))
    assert swept.message_id == "m"


def test_a_report_that_came_while_the_proxy_was_asked_wins(desk: Desk) -> None:
    desk.submit("m")
    desk.clock.advance(101)
    desk.lists()
    ask = desk.asker.ask

    def ask_slowly(*arguments: Any, **options: Any) -> Any:
        asked = ask(*arguments, **options)
        desk.store.record([report("m")], claim="receiver")
        return asked

    desk.asker.ask = ask_slowly  # type: ignore[method-assign]
    desk.reconciler.run()
    assert (desk.status(), desk.postponed) == (Status.SENT, [])


def test_polling_lists_once_for_a_thousand_mails_and_records_only_ends(desk: Desk) -> None:
    poller = Poller(store=desk.store, asker=desk.asker, recorder=desk.recorder, clock=desk.clock)
    ids = [f"m-{number}" for number in range(1000)]
    desk.submit(*ids)
    desk.lists(*({"id": each} for each in ids[:-1]))
    assert poller.poll() == 0
    assert len(desk.asked) <= 2
    desk.asked.clear()
    desk.lists({"id": "m-0", "sent_ts": 1795324468}, *({"id": each} for each in ids[1:]))
    assert poller.poll() == 1
    assert len(desk.asked) <= 2
    # Those that the proxy does not know may have been submitted a moment ago.
    assert [desk.status(each) for each in ("m-0", "m-1", "m-999")] == [Status.SENT, Status.QUEUED, Status.QUEUED]
    assert poller.poll() == 0


def test_polling_says_which_proxy_it_could_not_ask_after_the_others(desk: Desk) -> None:
    poller = Poller(store=desk.store, asker=desk.asker, recorder=desk.recorder, clock=desk.clock)
    desk.submit("gone", server="gone")
    desk.submit("m")
    desk.lists({"id": "m", "sent_ts": 1795324468})
    with pytest.raises(ProxyUnavailable, match="no server 'gone'"):
        poller.poll()
    assert desk.status() is Status.SENT


def test_a_mail_that_is_lost_between_two_steps_of_healing_is_healed_and_not_given_up() -> None:
    healed: list[str] = []
    desk = Desk("entities", heal=healed.append)
    desk.submit("m", "other")
    loss = DeliveryReport(kind=Kind.ERROR, message_id="m", at=desk.clock.now, reason="missing 'from'", raw={"id": "m"})
    desk.store.record([as_deferral(loss)], claim="c")
    desk.lists()
    desk.clock.now += timedelta(seconds=101)
    tally = desk.reconciler.run()
    assert tally is not None
    assert (tally.open, tally.unknown) == (1, 1)
    assert healed == ["m"]
    assert (desk.status("m"), desk.status("other")) == (Status.DEFERRED, Status.ERROR)
    desk.client.close()
