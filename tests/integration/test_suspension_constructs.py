"""A result that follows the mail: retries, copies, races, task classes, signals, stamps."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone
from typing import Any

import pytest
from celery import chain, chord
from celery.exceptions import ChordError

from celery_mailproxy import DeliveryError, DeliveryReport, Kind
from celery_mailproxy.runtime import get_runtime
from celery_mailproxy.suspensions import SuspensionState
from celery_mailproxy.testing import FakeProxy
from celery_mailproxy.testing.outcomes import error

from ..harness.mail_stack import MODULE, MailStack
from ..harness.proxy_tenant import ProxyTenant
from ..harness.services import RedisServer

pytestmark = pytest.mark.integration

_numbers = itertools.count(500)


@pytest.fixture(scope="module")
def proxy() -> Iterator[FakeProxy]:
    with FakeProxy("entities") as proxy:
        proxy.plan("silent@example.com")
        proxy.plan("bad@example.com", error("550 5.1.1 unknown"))
        yield proxy


def add_tenant(proxy: FakeProxy) -> ProxyTenant:
    return ProxyTenant(proxy=proxy, smtp_host="127.0.0.1", smtp_port=25).add()


@pytest.fixture(scope="module", params=["redis", "rabbitmq"])
def stack(request: pytest.FixtureRequest, proxy: FakeProxy, redis_server: RedisServer) -> Iterator[MailStack]:
    broker = request.getfixturevalue({"redis": "redis_server", "rabbitmq": "rabbit_server"}[request.param])
    conf = {"result_backend": redis_server.url_of(7)}
    with MailStack(add_tenant(proxy), broker_url=broker.url, conf=conf) as stack:
        yield stack


def deliver(stack: MailStack, to: str = "ann") -> Any:
    task = stack.app.tasks["celery_mailproxy.deliver_via_proxy"]
    return task.s(to=[f"{to}@example.com"], subject="S", body="B")


def own(stack: MailStack, name: str, to: str = "ann") -> Any:
    return stack.app.signature(f"{MODULE}.{name}", kwargs={"to": [f"{to}@example.com"], "subject": "S", "body": "B"})


def add(stack: MailStack, number: int) -> Any:
    return stack.app.signature(f"{MODULE}.add", kwargs={"number": number})


def ran(stack: MailStack, number: int) -> int:
    return [event["id"] for event in stack.events if event["name"] == "add"].count(str(number))


def summarise(stack: MailStack) -> Any:
    return stack.app.signature(f"{MODULE}.summarise")


def wait_suspended(stack: MailStack, message_id: str) -> Any:
    def waiting() -> bool:
        delivery = stack.delivery(message_id)
        return delivery is not None and delivery.suspension.state is SuspensionState.WAITING

    stack.wait_until(waiting, what="the suspended result")
    return stack.delivery(message_id)


def test_a_submission_that_is_retried(stack: MailStack, proxy: FakeProxy) -> None:
    number = next(_numbers)
    before = stack.worker.log.count("Retry in")
    with proxy.down():
        result = deliver(stack).apply_async(link=add(stack, number))
        stack.wait_until(lambda: stack.worker.log.count("Retry in") >= before + 2, what="two retries")
    assert result.get(timeout=30)["kind"] == "sent"
    stack.wait_until(lambda: ran(stack, number), what="the link")
    stack.settle(0.5)
    assert ran(stack, number) == 1


def test_a_submission_that_is_retried_in_a_chord(stack: MailStack, proxy: FakeProxy) -> None:
    before = stack.worker.log.count("Retry in")
    with proxy.down():
        result = chord([deliver(stack), deliver(stack)], summarise(stack)).apply_async()
        stack.wait_until(lambda: stack.worker.log.count("Retry in") >= before + 2, what="two retries")
    assert result.get(timeout=30) == {"number": 2}


def test_a_submission_that_fails_for_good_in_a_chord(proxy: FakeProxy, redis_server: RedisServer) -> None:
    conf = {"result_backend": redis_server.url_of(7), "mail_proxy_max_retries": 3}
    tenant = add_tenant(proxy)
    with MailStack(tenant, broker_url=redis_server.url, proxy_url="http://127.0.0.1:9", conf=conf) as stack:
        result = chord([deliver(stack), deliver(stack)], summarise(stack)).apply_async()
        with pytest.raises((ChordError, DeliveryError)):
            result.get(timeout=30)
        alone = own(stack, "welcome").apply_async()
        with pytest.raises(DeliveryError, match="no connection to the proxy"):
            alone.get(timeout=30)
        # The task's own limit is the lower one.
        assert stack.told(alone.id)["on_retry"] == 2
        ended = SuspensionState.DONE
        stack.wait_until(lambda: stack.delivery(alone.id).suspension.state is ended, what="the tombstone")


def test_two_copies_of_the_resuming_message_give_one_result(stack: MailStack) -> None:
    number = next(_numbers)
    result = deliver(stack, "silent").apply_async(link=add(stack, number))
    wait_suspended(stack, result.id)
    runtime = get_runtime(stack.app)
    report = DeliveryReport(kind=Kind.SENT, message_id=result.id, at=datetime.now(timezone.utc))
    (recorded,) = runtime.store.record([report], claim="the first dispatcher")
    suspension = recorded.delivery.suspension  # type: ignore[union-attr]
    assert suspension is not None
    for _ in range(2):
        runtime.resumer.publish(result.id, suspension)
    assert result.get(timeout=20)["kind"] == "sent"
    stack.settle(1)
    assert ran(stack, number) == 1
    assert stack.told(result.id)["task_success"] == 1


def test_a_deferred_report_never_lands_on_the_final_one(stack: MailStack) -> None:
    now = int(time.time())
    results = [deliver(stack, "silent").delay() for _ in range(50)]
    expected = []
    with ThreadPoolExecutor(2) as pool:
        for n, result in enumerate(results):
            wait_suspended(stack, result.id)
            # Redis' backend protects SUCCESS by itself; FAILURE is ours to protect.
            end = {"sent_ts": now} if n % 2 else {"error_ts": now, "error": "550 no"}
            expected.append("SUCCESS" if n % 2 else "FAILURE")
            entries: list[dict[str, Any]] = [{"deferred_ts": now, "deferred_reason": "451"}, end]
            posts = [pool.submit(stack.post_reports, {"id": result.id, **entry}) for entry in entries]
            assert [post.result().status_code for post in posts] == [200, 200]
    for result in results:
        result.get(timeout=20, propagate=False)
    stack.settle(1)
    assert [result.state for result in results] == expected


def test_a_task_class_of_ones_own(stack: MailStack) -> None:
    good = own(stack, "welcome").apply_async()
    assert good.get(timeout=20)["kind"] == "sent"
    bad = own(stack, "welcome", "bad").apply_async()
    with pytest.raises(DeliveryError, match="550"):
        bad.get(timeout=20)
    stack.wait_told(good.id, "on_success")
    stack.wait_told(bad.id, "on_failure")
    stack.settle(0.5)
    for result, hook in ((good, "on_success"), (bad, "on_failure")):
        hooks = [event["name"] for event in stack.events if event["what"] == "hook" and event["id"] == result.id]
        assert hooks == [hook]


def test_autoretry_repeats_no_mail_that_came_to_an_end(stack: MailStack, proxy: FakeProxy) -> None:
    proxy.fail_next(2)
    result = own(stack, "welcome").apply_async()
    assert result.get(timeout=30)["kind"] == "sent"
    assert stack.told(result.id)["on_retry"] == 2
    assert len([message for message in proxy.received if message["id"] == result.id]) <= 3


def test_task_signals_run_twice_and_the_outcome_once(stack: MailStack) -> None:
    good, bad = deliver(stack, "silent").delay(), deliver(stack, "silent").delay()
    for result, entry in ((good, {"sent_ts": 1795324468}), (bad, {"error_ts": 1795324468, "error": "550 no"})):
        # Else the report might come first, and one run do it all.
        wait_suspended(stack, result.id)
        stack.post_reports({"id": result.id, **entry})
        result.get(timeout=20, propagate=False)
        stack.wait_until(lambda: stack.told(result.id)["task_postrun"] == 2, what="the end of both runs")  # noqa: B023
    told = stack.told(good.id)
    assert (told["task_prerun"], told["task_success"], told["task_failure"]) == (2, 1, 0)
    told = stack.told(bad.id)
    assert (told["task_prerun"], told["task_success"], told["task_failure"]) == (2, 0, 1)


def test_ignored_results_leave_no_state(stack: MailStack) -> None:
    numbers = [next(_numbers), next(_numbers)]
    by_call = deliver(stack).apply_async(ignore_result=True, link=add(stack, numbers[0]))
    by_task = own(stack, "unheard").apply_async(link=add(stack, numbers[1]))
    stack.wait_until(lambda: all(ran(stack, number) for number in numbers), what="both links")
    stack.settle(0.5)
    assert (by_call.state, by_task.state) == ("PENDING", "PENDING")


def test_ignored_results_count_in_a_chord(stack: MailStack) -> None:
    header = [deliver(stack).set(ignore_result=True), deliver(stack)]
    assert chord(header, summarise(stack)).apply_async().get(timeout=20) == {"number": 2}


def test_stamps_come_through_both_runs(stack: MailStack) -> None:
    mail = deliver(stack, "silent")
    mail.stamp(customer="7")
    result = mail.apply_async()
    wait_suspended(stack, result.id)
    stack.post_reports({"id": result.id, "sent_ts": int(time.time())})
    assert result.get(timeout=20)["kind"] == "sent"
    runs = [e for e in stack.events if e["id"] == result.id and e["name"] == "task_prerun"]
    assert [run["stamps"]["customer"] for run in runs] in ([["7"]] * 2, ["7"] * 2)


def test_a_task_that_replaces_itself_by_a_mail(stack: MailStack) -> None:
    first, last = next(_numbers), next(_numbers)
    replaced = stack.app.signature(f"{MODULE}.replaced", kwargs={"to": "ann@example.com"})
    start = stack.app.signature(f"{MODULE}.add", args=(0,), kwargs={"number": first})
    result = chain(start, replaced, add(stack, last)).apply_async()
    assert result.get(timeout=20) == last
    assert result.parent.get(timeout=5)["kind"] == "sent"
    assert ran(stack, last) == 1
