"""`deliver_many_via_proxy`, `collect=True` and `per_recipient=True`, as far as no worker is needed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from celery import Celery, chord

from celery_mailproxy import (
    DeliveryError,
    InvalidMessage,
    MessageRejected,
    deliver_many_via_proxy,
    deliver_via_proxy,
    send_many_via_proxy,
    send_via_proxy,
)
from celery_mailproxy.runtime import forget_runtime
from celery_mailproxy.tasks.results.chunks import deliver_from_chunk
from celery_mailproxy.testing import FakeProxy
from tests.harness.proxy_conf import proxy_conf


@pytest.fixture(scope="module")
def proxy() -> Iterator[FakeProxy]:
    with FakeProxy("commands") as proxy:
        yield proxy


@pytest.fixture
def app(proxy: FakeProxy) -> Iterator[Celery]:
    app = Celery("campaigns", broker="memory://", set_as_current=False)
    app.conf.update(
        task_always_eager=True,
        task_eager_propagates=True,
        **proxy_conf(proxy),
        mail_proxy_from_email="shop@example.com",
        mail_proxy_store="memory://campaigns",
        mail_proxy_sync_token="secret",
    )
    yield app
    forget_runtime(app)
    app.close()


def test_each_mail_is_a_task_and_the_first_of_a_chunk_carries_what_all_of_it_say(app: Celery) -> None:
    messages: list[dict[str, Any]] = [
        {"to": "ann@example.com"},
        {"to": ["bob@example.com"], "subject": "Own", "message_id": "m-7"},
    ]
    group = deliver_many_via_proxy(messages, app=app, subject="Common", body="B")
    assert [each.task for each in group.tasks] == [deliver_from_chunk.name] * 2
    first, second = (dict(each.kwargs) for each in group.tasks)
    assert first["messages"] == [
        {"to": ["ann@example.com"], "subject": "Common", "body": "B"},
        {"to": ["bob@example.com"], "subject": "Own", "body": "B", "message_id": "m-7"},
    ]
    assert second == {"campaign": first["campaign"], "index": 1, "message_id": "m-7"}
    # Ids that are given when it is applied: a group that is applied twice is two campaigns.
    assert not any(each.options.get("task_id") for each in group.tasks)


def test_a_mail_alone_is_a_task_with_its_own_content(app: Celery) -> None:
    (task,) = deliver_many_via_proxy([{"to": ["ann@example.com"]}], app=app, body="B").tasks
    assert (task.task, dict(task.kwargs)) == (deliver_via_proxy.name, {"to": ["ann@example.com"], "body": "B"})


def sizes(group: Any) -> list[int]:
    """How many mails each chunk has."""
    return [len(each.kwargs.get("messages", [None])) for each in group.tasks if "messages" in each.kwargs]


def test_a_chunk_has_the_size_of_the_setting(app: Celery) -> None:
    app.conf.mail_proxy_chunk_size = 3
    group = deliver_many_via_proxy([{"to": ["ann@example.com"]}] * 8, app=app, body="B")
    assert [each.kwargs["index"] for each in group.tasks] == list(range(8))
    assert sizes(group) == [3, 3, 2]


def test_a_chunk_is_no_large_message_on_the_broker(app: Celery) -> None:
    group = deliver_many_via_proxy([{"to": ["ann@example.com"], "body": "x" * 100_000}] * 5, app=app)
    assert sizes(group) == [2, 2]
    assert len(group.tasks) == 5
    assert max(len(json.dumps(each.kwargs)) for each in group.tasks) < 256 * 1024


def test_a_task_of_a_chunk_by_itself_says_what_to_do(app: Celery) -> None:
    group = deliver_many_via_proxy([{"to": ["ann@example.com"]}] * 2, app=app, body="B")
    with pytest.raises(InvalidMessage, match="as a whole"):
        group.tasks[1].clone().apply_async()


def test_collect_travels_with_each_task(app: Celery) -> None:
    for number in (1, 2):
        tasks = deliver_many_via_proxy([{"to": ["ann@example.com"]}] * number, collect=True, app=app, body="B").tasks
        assert [task.kwargs["collect"] for task in tasks] == [True] * number


def test_each_mail_of_a_campaign_may_go_to_each_recipient_alone(app: Celery) -> None:
    messages = [{"to": ["ann@example.com", "bob@example.com"]}]
    (task,) = deliver_many_via_proxy(messages, per_recipient=True, app=app, body="B").tasks
    assert task.kwargs["per_recipient"] is True
    (task,) = deliver_many_via_proxy(messages, app=app, body="B").tasks
    assert "per_recipient" not in task.kwargs


def test_no_mail_is_an_empty_group(app: Celery) -> None:
    assert len(deliver_many_via_proxy([], app=app).tasks) == 0


def test_the_first_wrong_message_is_named_in_the_caller(app: Celery) -> None:
    messages = [{"to": ["ann@example.com"]}] * 3 + [{"to": ["no address"]}]
    with pytest.raises(InvalidMessage) as caught:
        deliver_many_via_proxy(messages, app=app, subject="S", body="B")
    assert caught.value.argument.startswith("messages[3].to")


@pytest.mark.parametrize(
    ("messages", "common", "argument"),
    [
        ([{"to": ["a@example.com"], "message_id": "m"}] * 2, {}, "messages[1].message_id"),
        ([{"to": ["a@example.com"], "sbject": "S"}], {}, "messages[0].sbject"),
        ([{"to": ["a@example.com"]}], {"bdy": "B"}, "bdy"),
        ({"to": ["a@example.com"]}, {}, "messages"),
        (["a@example.com"], {}, "messages[0]"),
        ([{"to": ["a@example.com"], "per_recipient": True}], {}, "messages[0].per_recipient"),
        (
            [{"to": ["a@example.com"], "headers": {"Resent-To": "x"}}],
            {"per_recipient": True},
            "messages[0].headers['Resent-To']",
        ),
    ],
)
def test_what_is_no_list_of_mails_is_refused(app: Celery, messages: Any, common: dict[str, Any], argument: str) -> None:
    with pytest.raises(InvalidMessage) as caught:
        deliver_many_via_proxy(messages, app=app, **common)
    assert caught.value.argument == argument


def test_called_eagerly_it_collects_what_the_proxy_says(app: Celery) -> None:
    task = app.tasks[deliver_via_proxy.name]
    mail = {"subject": "S", "body": "B", "to": ["ann@example.com"]}
    taken = task.delay(collect=True, **mail).get()
    assert (taken["outcome"], taken["reason"], taken["report"]) == ("queued", None, None)
    refused = task.delay(collect=True, account_id="nobody", **mail).get()
    assert (refused["outcome"], refused["reason"]) == ("rejected", "account not found")
    assert task(collect=True, account_id="nobody", **mail)["outcome"] == "rejected"
    # A direct call leaves nothing behind for the next one.
    with pytest.raises(DeliveryError):
        task(account_id="nobody", **mail)


def campaign(app: Celery, *recipients: str, **arguments: Any) -> Any:
    messages = [{"to": [recipient], "subject": f"For {recipient}"} for recipient in recipients]
    return deliver_many_via_proxy(messages, app=app, body="B", **arguments)


@pytest.mark.parametrize("chunk_size", [1, 2, 3, 100])
def test_applied_eagerly_each_mail_of_a_campaign_is_submitted_once(
    app: Celery, proxy: FakeProxy, chunk_size: int
) -> None:
    app.conf.mail_proxy_chunk_size = chunk_size
    recipients = [f"{uuid4()}@example.com" for _ in range(3)]
    results = campaign(app, *recipients).delay().get()
    assert [each["state"] for each in results] == ["queued"] * 3
    received = [(message["id"], message["to"]) for message in proxy.received if message["to"][0] in recipients]
    assert received == [(each["id"], [recipient]) for each, recipient in zip(results, recipients, strict=True)]


def test_applied_eagerly_the_body_of_a_chord_gets_the_outcomes(app: Celery) -> None:
    @app.task(name="campaigns.summarise", shared=False)  # type: ignore[untyped-decorator]
    def summarise(results: list[dict[str, Any]]) -> list[str]:
        return [each["outcome"] for each in results]

    mails = campaign(app, "ann@example.com", "bob@example.com", collect=True)
    assert chord(mails, summarise.s(), app=app).delay().get() == ["queued", "queued"]


def test_applied_eagerly_a_refused_mail_fails_alone(app: Celery) -> None:
    app.conf.task_eager_propagates = False
    messages = [
        {"to": ["ann@example.com"], "account_id": account} for account in ("nobody", app.conf.mail_proxy_account)
    ]
    refused, taken = deliver_many_via_proxy(messages, app=app, body="B").delay().results
    assert taken.get()["state"] == "queued"
    with pytest.raises(DeliveryError, match="account not found"):
        refused.get()
    refused, taken = deliver_many_via_proxy(messages, collect=True, app=app, body="B").delay().get()
    assert (refused["outcome"], refused["reason"]) == ("rejected", "account not found")
    assert taken["outcome"] == "queued"


def test_applied_eagerly_twice_a_group_is_two_campaigns(app: Celery) -> None:
    mails = campaign(app, "ann@example.com", "bob@example.com")
    ids = [each["id"] for _ in range(2) for each in mails.delay().get()]
    assert len(set(ids)) == 4


def test_many_at_once_refuse_what_is_for_one_mail(app: Celery) -> None:
    task = app.tasks[send_many_via_proxy.name]
    for arguments in ({"messages": [{"to": ["a@example.com"], "per_recipient": True}]}, {"per_recipient": True}):
        with pytest.raises(InvalidMessage, match="deliver_many_via_proxy"):
            task.delay(**{"messages": [{"to": ["a@example.com"]}], **arguments})


def test_per_recipient_is_a_yes_or_a_no(app: Celery) -> None:
    for name in (send_via_proxy.name, deliver_via_proxy.name):
        with pytest.raises(InvalidMessage, match="must be True or False") as caught:
            app.tasks[name].delay(to=["a@example.com"], subject="S", per_recipient="yes")
        assert caught.value.argument == "per_recipient"


def test_too_many_recipients_are_refused_in_the_caller(app: Celery) -> None:
    to = [f"a{number}@example.com" for number in range(1001)]
    with pytest.raises(InvalidMessage, match="at most 1000 recipients"):
        app.tasks[deliver_via_proxy.name].delay(to=to, subject="S", per_recipient=True)


def test_called_eagerly_each_recipient_is_submitted(app: Celery, proxy: FakeProxy) -> None:
    to = ["ann@example.com", "bob@example.com"]
    mail = {"subject": "S", "body": "B", "to": to, "per_recipient": True}
    result = app.tasks[send_via_proxy.name].delay(**mail)
    ids = {"ann@example.com": f"{result.id}-0", "bob@example.com": f"{result.id}-1"}
    assert result.get() == {"id": result.id, "ids": ids, "queued": 2, "rejected": [], "failed": []}
    result = app.tasks[deliver_via_proxy.name].delay(**mail)
    ids = {address: f"{result.id}-{number}" for number, address in enumerate(to)}
    assert result.get() == {"state": "queued", "id": result.id, "ids": ids, "sent": [], "error": {}}
    result_of_all = app.tasks[deliver_via_proxy.name].delay(collect=True, **mail).get()
    assert (result_of_all["outcome"], len(result_of_all["ids"]), result_of_all["sent"]) == ("queued", 2, [])
    assert {f"{result.id}-0", f"{result.id}-1"} <= {message["id"] for message in proxy.received}
    with pytest.raises(DeliveryError, match="account not found"):
        app.tasks[deliver_via_proxy.name].delay(account_id="nobody", **mail)


def test_an_id_in_use_for_another_list_is_refused(app: Celery, proxy: FakeProxy) -> None:
    task = app.tasks[send_via_proxy.name]
    mail = {"subject": "S", "body": "B", "message_id": "used-twice", "per_recipient": True}
    assert task.delay(to=["ann@example.com"], **mail).get()["queued"] == 1
    assert task.delay(to=["ann@example.com"], **mail).get()["queued"] == 1
    with pytest.raises(MessageRejected, match="in use for another email"):
        task.delay(to=["bob@example.com"], **mail)
    assert [message["id"] for message in proxy.received].count("used-twice-0") == 1


@pytest.mark.parametrize(
    "result",
    [
        {"id": "m1", "queued": 1, "rejected": []},
        {"message_id": "m1", "kind": "sent", "at": "2030-01-31T09:00:00+00:00", "reason": None, "via": "proxy"},
        {"ids": {}, "sent": [], "error": {}},
        {"message_id": "m1", "outcome": "error", "reason": "no", "report": None},
    ],
)
def test_the_result_of_a_mail_is_no_mail(app: Celery, result: dict[str, Any]) -> None:
    for task in (send_via_proxy, deliver_via_proxy):
        with pytest.raises(InvalidMessage, match=r"write \.si\("):
            app.tasks[task.name].apply((result,), {"to": "ann@example.com"}, throw=True)
