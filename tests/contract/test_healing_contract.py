"""What 0.7.0 damages is healed: the same on the running proxy and on the `FakeProxy` that stands for it.

Each test plays the worker: it takes the proxy's reports, dispatches them, and runs what comes of that.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from celery_mailproxy.conf import task_names
from celery_mailproxy.deliveries.delivery import Delivery, Status
from celery_mailproxy.deliveries.report import Kind, parse_entry
from celery_mailproxy.dispatch.dispatcher import dispatcher_of
from celery_mailproxy.proxy.client import ProxyClient
from celery_mailproxy.proxy.nested_mail import spare_id
from celery_mailproxy.tasks import healing
from celery_mailproxy.testing import FakeProxy, MailSink, RealProxy
from celery_mailproxy.testing.outcomes import deferred, sent

from ..harness.memory_worker import MemoryWorker, memory_worker
from ..harness.proxy_tenant import ProxyTenant
from ..harness.report_sink import ReportSink
from ..harness.waiting import wait_until
from .proxies import AnyProxy

REFUSAL = "451 4.3.0 try later"


@pytest.fixture(scope="module", params=["fake", "real"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def patient(kind: str) -> Iterator[AnyProxy]:
    """It tries again after a minute."""
    with FakeProxy("entities") if kind == "fake" else RealProxy("entities") as proxy:
        yield proxy


@pytest.fixture(scope="module")
def hasty(kind: str) -> Iterator[AnyProxy]:
    """It tries again after a second: before anybody has healed what it tries."""
    with FakeProxy("entities") if kind == "fake" else RealProxy("entities", retry_delays_seconds=(1,)) as proxy:
        yield proxy


class Ward:
    """A tenant on a proxy, an application without a worker, and what an SMTP server got."""

    def __init__(self, proxy: AnyProxy, sink: MailSink, reports: ReportSink, worker: MemoryWorker) -> None:
        self.proxy = proxy
        self.sink = sink
        self.reports = reports
        self.worker = worker
        self.tenant = ProxyTenant(proxy=proxy, smtp_host=sink.host, smtp_port=sink.port).add(reports.url)
        worker.app.conf.update(
            mail_proxy_url=proxy.url,
            mail_proxy_token=proxy.token,
            mail_proxy_tenant=self.tenant.id,
            mail_proxy_account=self.tenant.account_id,
        )
        self.address = f"ann-{self.tenant.suffix}@example.com"
        self._taken = 0

    def heal_after(self, *retry_seconds: int) -> None:
        """Let mails wait so long, for nobody waits for hours."""
        runtime = self.worker.runtime
        healer = healing.Healer(
            store=runtime.store,
            client_for=runtime.client,
            dispatcher=dispatcher_of(runtime),
            retry_seconds=retry_seconds,
        )
        runtime.replace_part(healing._build, healer)

    def defer_next(self, times: int = 1, *, patience: float = 60.0) -> None:
        """Let the SMTP server refuse the next mail so often; the fake proxy tries again after so many seconds."""
        if isinstance(self.proxy, FakeProxy):
            following = [deferred(REFUSAL, delay_seconds=patience) for _ in range(times - 1)]
            self.proxy.plan(self.address, deferred(REFUSAL), *following, sent(delay_seconds=patience))
        else:
            self.sink.answer_next(self.address, *[REFUSAL] * times)

    def send(self, **mail: Any) -> str:
        arguments = {"to": [self.address], "subject": "Subject", "body": "Body", **mail}
        result = self.worker.task(task_names.SEND).apply_async(kwargs=arguments)
        self.worker.run_all()
        return str(result.id)

    def take_reports(self, number: int) -> list[dict[str, Any]]:
        """The next reports of the proxy, before anybody has seen them."""
        found = self.reports.wait_for_reports(self._taken + number)[self._taken :]
        self._taken += len(found)
        return found

    def dispatch(self, entries: list[dict[str, Any]]) -> list[str]:
        """Dispatch reports, and run what comes of it; the states in which that ended."""
        parsed = [report.to_json() for entry in entries for report in parse_entry(entry)]
        self.worker.task(task_names.DISPATCH).apply_async((parsed,))
        return self.worker.run_all()

    def delivery(self, message_id: str) -> Delivery:
        delivery = self.worker.runtime.store.get(message_id)
        assert delivery is not None
        return delivery

    def kinds(self, message_id: str) -> list[Kind]:
        return [entry.report.kind for entry in self.delivery(message_id).history]

    def got(self) -> int:
        """How often an SMTP server has got the mail."""
        if isinstance(self.proxy, FakeProxy):
            return sum(self.address in mail["to"] for mail in self.proxy.delivered)
        return len(self.sink.mails_to(self.address))

    def rows(self) -> list[str]:
        """The ids of the messages that the proxy has."""
        return [each["id"] for each in self.proxy.messages(self.tenant.id)]


@pytest.fixture
def make_ward(mail_sink: MailSink, report_sink: ReportSink) -> Iterator[Callable[[AnyProxy], Ward]]:
    with memory_worker() as worker:
        yield lambda proxy: Ward(proxy, mail_sink, report_sink, worker)


@pytest.fixture
def ward(patient: AnyProxy, make_ward: Callable[[AnyProxy], Ward]) -> Iterator[Ward]:
    ward = make_ward(patient)
    ward.heal_after(*[0] * 5)
    yield ward
    ward.tenant.add(None, active=False)


@pytest.fixture
def hasty_ward(hasty: AnyProxy, make_ward: Callable[[AnyProxy], Ward]) -> Iterator[Ward]:
    ward = make_ward(hasty)
    ward.heal_after(*[0] * 5)
    yield ward
    ward.tenant.add(None, active=False)


def lose(ward: Ward) -> str:
    """Send a mail that the proxy defers and then loses; both reports have been dispatched, and nothing is healed."""
    ward.defer_next(patience=0.0)
    message_id = ward.send()
    entries = ward.take_reports(2)
    assert entries[1]["error"] == "missing 'from'"
    parsed = [report for entry in entries for report in parse_entry(entry)]
    dispatcher_of(ward.worker.runtime).dispatch(parsed)
    ward.worker.take()
    return message_id


def next_second() -> None:
    """The proxy counts in seconds: of two reports of one second nobody knows that they are two."""
    now = int(time.time())
    wait_until(lambda: int(time.time()) > now, "the next second")


def heal(ward: Ward, message_id: str) -> None:
    healing.healer_of(ward.worker.runtime).heal(message_id)


def test_a_deferred_mail_is_healed_before_its_next_try(ward: Ward) -> None:
    ward.defer_next()
    message_id = ward.send()
    assert set(ward.dispatch(ward.take_reports(1))) == {"SUCCESS"}
    (report,) = ward.take_reports(1)
    assert "sent_ts" in report
    ward.dispatch([report])
    assert ward.kinds(message_id) == [Kind.QUEUED, Kind.DEFERRED, Kind.SENT]
    assert (ward.got(), ward.rows()) == (1, [message_id])


def test_a_mail_that_is_deferred_again_and_again_is_healed_each_time(ward: Ward) -> None:
    ward.defer_next(3)
    message_id = ward.send()
    for _ in range(4):
        (report,) = ward.take_reports(1)
        next_second()
        ward.dispatch([report])
    assert ward.delivery(message_id).status is Status.SENT
    assert ward.got() == 1


def test_a_lost_mail_is_deferred_and_sent(hasty_ward: Ward) -> None:
    ward = hasty_ward
    ward.defer_next(patience=0.0)
    message_id = ward.send()
    entries = ward.take_reports(2)
    assert [each.get("error") for each in entries] == [None, "missing 'from'"]
    ward.dispatch(entries)
    ward.dispatch(ward.take_reports(1))
    assert ward.kinds(message_id) == [Kind.QUEUED, Kind.DEFERRED, Kind.DEFERRED, Kind.SENT]
    # The copy that was kept meanwhile is gone, and has not been sent.
    assert (ward.got(), ward.rows()) == (1, [message_id])


def test_the_proxy_repeats_the_report_of_a_loss_without_harm(hasty_ward: Ward) -> None:
    message_id = lose(hasty_ward)
    heal(hasty_ward, message_id)
    lost = hasty_ward.reports.wait_for_reports(2)[1]
    hasty_ward.dispatch([lost])
    hasty_ward.dispatch(hasty_ward.take_reports(1))
    hasty_ward.dispatch([lost])
    assert hasty_ward.delivery(message_id).status is Status.SENT
    assert hasty_ward.got() == 1


class Killed(BaseException):
    """In place of SIGKILL, which a test of its own uses."""


#: The calls by which a lost mail is healed, in their order.
CALLS = ["add a copy", "delete the mail", "add the mail", "delete the copy"]


@pytest.mark.parametrize("is_done", [True, False], ids=["after", "before"])
@pytest.mark.parametrize("number", range(len(CALLS)), ids=CALLS)
def test_a_run_that_is_killed_loses_nothing(
    hasty_ward: Ward, number: int, is_done: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    ward = hasty_ward
    message_id = lose(ward)
    calls: list[str] = []

    def dying(call: Callable[..., Any]) -> Callable[..., Any]:
        def called(self: ProxyClient, *args: Any) -> Any:
            calls.append(call.__name__)
            if len(calls) == number + 1 and not is_done:
                raise Killed
            answer = call(self, *args)
            if len(calls) == number + 1:
                raise Killed
            return answer

        return called

    with monkeypatch.context() as patched:
        patched.setattr(ProxyClient, "give_back", dying(ProxyClient.give_back))
        patched.setattr(ProxyClient, "delete_messages", dying(ProxyClient.delete_messages))
        with pytest.raises(Killed):
            heal(ward, message_id)
    assert {message_id, spare_id(message_id)} & set(ward.rows())
    heal(ward, message_id)
    ward.dispatch(ward.take_reports(1))
    assert ward.delivery(message_id).status is Status.SENT
    assert (ward.got(), ward.rows()) == (1, [message_id])


def test_after_the_last_time_the_mail_ends_with_the_servers_reason(ward: Ward) -> None:
    ward.heal_after()
    ward.defer_next()
    message_id = ward.send()
    ward.dispatch(ward.take_reports(1))
    delivery = ward.delivery(message_id)
    assert delivery.status is Status.ERROR
    assert delivery.reason is not None
    assert delivery.reason.startswith("given up after 1 attempts: ")
    assert "try later" in delivery.reason
    assert (ward.got(), ward.rows()) == (0, [])


def test_a_mail_that_is_lost_without_a_trace_ends(hasty_ward: Ward) -> None:
    message_id = lose(hasty_ward)
    hasty_ward.worker.runtime.client().delete_messages(hasty_ward.tenant.id, [message_id])
    heal(hasty_ward, message_id)
    assert hasty_ward.delivery(message_id).status is Status.ERROR


def test_a_mail_in_order_is_left_alone(ward: Ward) -> None:
    message_id = ward.send(send_at=int(time.time()) + 3600)
    before = ward.proxy.messages(ward.tenant.id)
    heal(ward, message_id)
    assert ward.proxy.messages(ward.tenant.id) == before
