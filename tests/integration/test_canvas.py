"""A result that follows the mail, in every construct of Celery's canvas: real brokers, real workers, the fake proxy."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest
from celery import chain, chord, group
from celery.exceptions import ChordError

from celery_mailproxy import DeliveryError
from celery_mailproxy.testing import FakeProxy
from celery_mailproxy.testing.outcomes import deferred, error, sent

from ..harness.mail_stack import MODULE, MailStack
from ..harness.proxy_tenant import ProxyTenant

pytestmark = [
    pytest.mark.integration,
    # An rpc:// client over Redis leaves a connection of its channel to the garbage collector: in a later test, that is.
    pytest.mark.filterwarnings("ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning"),
]

#: The other backends take as long again: `CANVAS_BACKENDS=redis,rpc,sqlalchemy make test` tries them all.
BACKENDS = os.environ.get("CANVAS_BACKENDS", "redis").split(",")

BROKERS = {"redis": "redis_server", "rabbitmq": "rabbit_server"}


def local_part(message: dict[str, Any]) -> str:
    return str(message["to"][0]).partition("@")[0]


@pytest.fixture(scope="module")
def proxy() -> Iterator[FakeProxy]:
    with FakeProxy("entities") as proxy:
        proxy.plan(lambda message: local_part(message).startswith("slow"), sent(delay_seconds=1.5))
        proxy.plan(lambda message: local_part(message).startswith("bad"), error("550 5.1.1 <bad@example.com> unknown"))
        steps = (deferred("451 later", delay_seconds=0.3), sent(delay_seconds=1.0))
        proxy.plan(lambda message: local_part(message).startswith("later"), *steps)
        proxy.plan(lambda message: local_part(message).startswith("silent"))
        yield proxy


def backend_url(kind: str, request: pytest.FixtureRequest, folder: Any) -> str | None:
    if kind == "redis":
        return str(request.getfixturevalue("redis_server").url_of(5))
    return {"rpc": "rpc://", "sqlalchemy": f"db+sqlite:///{folder}/results.sqlite3"}.get(kind)


@pytest.fixture(
    scope="module",
    params=[(broker, backend) for broker in BROKERS for backend in BACKENDS],
    ids="-".join,
)
def stack(
    request: pytest.FixtureRequest, proxy: FakeProxy, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[MailStack]:
    broker, backend = request.param
    tenant = ProxyTenant(proxy=proxy, smtp_host="127.0.0.1", smtp_port=25)
    tenant.add()
    url = request.getfixturevalue(BROKERS[broker]).url
    conf = {
        "result_backend": backend_url(backend, request, tmp_path_factory.mktemp("results")),
        "result_chord_retry_interval": 0.2,
        "mail_proxy_events": True,
    }
    with MailStack(tenant, broker_url=url, conf=conf) as stack:
        stack.backend = backend  # type: ignore[attr-defined]
        yield stack


@pytest.fixture
def with_chords(stack: MailStack) -> MailStack:
    if stack.backend == "rpc":  # type: ignore[attr-defined]
        pytest.skip("rpc:// has no chords: a limit of Celery's")
    return stack


def deliver(stack: MailStack, to: str = "ann", **arguments: Any) -> Any:
    task = stack.app.tasks["celery_mailproxy.deliver_via_proxy"]
    return task.s(to=[f"{to}@example.com"], **{"subject": "S", "body": "B", **arguments})


def sig(stack: MailStack, name: str, *args: Any, **kwargs: Any) -> Any:
    return stack.app.signature(f"{MODULE}.{name}", args=args, kwargs=kwargs)


def test_the_result_is_the_report_when_the_mail_is_sent(stack: MailStack) -> None:
    result = deliver(stack).delay()
    report = result.get(timeout=20)
    assert (report["kind"], report["message_id"]) == ("sent", result.id)


def states_until_ready(result: Any, timeout: float = 20) -> list[Any]:
    """Every (state, meta) that whoever waits for the result gets to see, the last one included."""
    seen: list[Any] = []

    def note(meta: dict[str, Any]) -> None:
        if not seen or seen[-1] != (meta["status"], meta["result"]):
            seen.append((meta["status"], meta["result"]))

    result.get(timeout=timeout, on_message=note)
    return seen


def test_the_result_waits_for_the_mail(stack: MailStack) -> None:
    result = deliver(stack, "slow").delay()
    if stack.backend in ("rpc", "redis"):  # type: ignore[attr-defined]
        states = states_until_ready(result)
        assert [state for state, _ in states] == ["QUEUED", "SUCCESS"]
        return
    stack.wait_until(lambda: result.state == "QUEUED", what="the state QUEUED")
    assert result.get(timeout=20)["kind"] == "sent"


def test_a_deferred_mail_shows_as_deferred_and_then_succeeds(stack: MailStack) -> None:
    result = deliver(stack, "later").delay()
    if stack.backend in ("rpc", "redis"):  # type: ignore[attr-defined]
        states = states_until_ready(result)
        assert [state for state, _ in states] == ["QUEUED", "DEFERRED", "SUCCESS"]
        assert states[1][1]["message_id"] == result.id
        return
    stack.wait_until(lambda: result.state == "DEFERRED", what="the state DEFERRED", timeout_seconds=10)
    assert result.info["message_id"] == result.id
    assert result.get(timeout=20)["kind"] == "sent"


def test_the_result_fails_when_the_mail_does(stack: MailStack) -> None:
    result = deliver(stack, "bad").delay()
    with pytest.raises(DeliveryError) as caught:
        result.get(timeout=20)
    assert caught.value.args == ("550 5.1.1 <bad@example.com> unknown", None, result.id)


def test_a_chain_goes_on_when_the_mail_is_sent(stack: MailStack) -> None:
    result = chain(deliver(stack, "slow"), sig(stack, "add", number=7)).apply_async()
    assert result.get(timeout=20) == 7
    (event,) = [e for e in stack.events if e["name"] == "add" and e["value"]["message_id"] == result.parent.id]
    assert event["value"]["kind"] == "sent"


def test_a_mail_in_a_chain_takes_its_content_from_the_task_before(stack: MailStack, proxy: FakeProxy) -> None:
    task = stack.app.tasks["celery_mailproxy.deliver_via_proxy"]
    result = chain(sig(stack, "render", 7), task.s(to=["ann@example.com"]), sig(stack, "add", number=8)).apply_async()
    assert result.get(timeout=20) == 8
    assert any(m["subject"] == "Rendered 7" for m in proxy.received if m["id"] == result.parent.id)


def test_a_chain_of_two_mails(stack: MailStack) -> None:
    task = stack.app.tasks["celery_mailproxy.deliver_via_proxy"]
    second = task.si(to=["bob@example.com"], subject="Second", body="B")
    result = chain(deliver(stack), second, sig(stack, "add", number=9)).apply_async()
    assert result.get(timeout=30) == 9


def test_a_chain_ends_where_its_mail_fails(stack: MailStack) -> None:
    result = chain(deliver(stack, "bad"), sig(stack, "add", number=10)).apply_async()
    with pytest.raises(DeliveryError):
        result.parent.get(timeout=20)
    stack.settle(0.5)
    assert not [event for event in stack.events if event["id"] == "10"]


def test_a_group_collects_its_mails(stack: MailStack) -> None:
    result = group(deliver(stack, "slow"), deliver(stack), deliver(stack)).apply_async()
    assert [report["kind"] for report in result.get(timeout=30)] == ["sent"] * 3


def test_a_group_with_a_failing_mail(stack: MailStack) -> None:
    result = group(deliver(stack), deliver(stack, "bad")).apply_async()
    good, bad = result.results
    assert good.get(timeout=20)["kind"] == "sent"
    with pytest.raises(DeliveryError):
        bad.get(timeout=20)


def test_a_chord_is_told_once_when_all_mails_have_ended(with_chords: MailStack) -> None:
    stack = with_chords
    mails = [deliver(stack, "slow" if n % 5 == 0 else "ann") for n in range(10)]
    assert chord(mails, sig(stack, "summarise")).apply_async().get(timeout=40) == {"number": 10}


def test_a_chord_with_a_failing_mail_fails(with_chords: MailStack) -> None:
    stack = with_chords
    result = chord([deliver(stack), deliver(stack, "bad")], sig(stack, "summarise")).apply_async()
    with pytest.raises((ChordError, DeliveryError)):
        result.get(timeout=30)


def test_a_chord_whose_body_is_a_mail_in_a_chain(with_chords: MailStack) -> None:
    stack = with_chords
    task = stack.app.tasks["celery_mailproxy.deliver_via_proxy"]
    body = task.si(to=["boss@example.com"], subject="Done", body="B")
    flow = chain(group(deliver(stack), deliver(stack)), body, sig(stack, "add", number=11))
    assert flow.apply_async().get(timeout=40) == 11


def test_links_and_link_errors_fire_on_delivery(stack: MailStack) -> None:
    good = deliver(stack).apply_async(link=[sig(stack, "add", number=12), sig(stack, "add", number=13)])
    stack.wait_until(lambda: {"12", "13"} <= {event["id"] for event in stack.events}, what="both links")
    bad = deliver(stack, "bad").apply_async(link_error=[sig(stack, "failed"), sig(stack, "failed_old")])
    stack.wait_until(lambda: {"failed", "failed_old"} <= stack.told(bad.id).keys(), what="both errbacks")
    stack.settle(0.5)
    assert stack.told(bad.id)["failed"] == stack.told(bad.id)["failed_old"] == 1
    assert good.get(timeout=10)["kind"] == "sent"


def test_an_ignored_result_still_goes_on(stack: MailStack) -> None:
    deliver(stack, "later").apply_async(ignore_result=True, link=sig(stack, "add", number=14))
    stack.wait_until(lambda: "14" in {event["id"] for event in stack.events}, what="the link")


def test_a_mail_that_expires_before_its_report_still_ends(stack: MailStack) -> None:
    result = deliver(stack, "slow").apply_async(expires=1)
    assert result.get(timeout=20)["kind"] == "sent"


def test_custom_headers_priority_and_countdown_come_through(stack: MailStack) -> None:
    result = deliver(stack).apply_async(headers={"mine": "x"}, priority=3, countdown=0.5)
    assert result.get(timeout=20)["kind"] == "sent"


def test_duplicated_and_contradicting_reports_end_it_once(stack: MailStack) -> None:
    result = deliver(stack, "silent").apply_async(link=sig(stack, "add", number=15))
    stack.wait_told(result.id, "mail_queued")
    sent_entry = {"id": result.id, "sent_ts": 1795324468}
    stack.post_reports(sent_entry, sent_entry)
    stack.post_reports(sent_entry)
    stack.post_reports({"id": result.id, "error_ts": 1795324469, "error": "no"})
    assert result.get(timeout=20)["kind"] == "sent"
    stack.settle(1)
    assert len([event for event in stack.events if event["id"] == "15"]) == 1


def test_two_hundred_at_once(with_chords: MailStack) -> None:
    stack = with_chords
    mails = [deliver(stack) for _ in range(200)]
    assert chord(mails, sig(stack, "summarise")).apply_async().get(timeout=90) == {"number": 200}
