"""`deliver_many_via_proxy` and `collect=True`, as far as no worker is needed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from celery import Celery

from celery_mailproxy import DeliveryError, InvalidMessage, deliver_many_via_proxy, deliver_via_proxy
from celery_mailproxy.testing import FakeProxy


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
        mail_proxy_url=proxy.url,
        mail_proxy_token=proxy.token,
        mail_proxy_tenant=proxy.tenant_id,
        mail_proxy_account=proxy.account_id,
        mail_proxy_from_email="shop@example.com",
        mail_proxy_store="memory://campaigns",
        mail_proxy_sync_token="secret",
    )
    yield app
    app.close()


def test_each_mail_is_a_task_with_what_is_common(app: Celery) -> None:
    messages = [{"to": "ann@example.com"}, {"to": ["bob@example.com"], "subject": "Own", "message_id": "m-7"}]
    group = deliver_many_via_proxy(messages, app=app, subject="Common", body="B")
    assert [each.task for each in group.tasks] == [deliver_via_proxy.name] * 2
    assert [dict(each.kwargs) for each in group.tasks] == [
        {"to": ["ann@example.com"], "subject": "Common", "body": "B"},
        {"to": ["bob@example.com"], "subject": "Own", "body": "B", "message_id": "m-7"},
    ]
    # Ids that are given when it is applied: a group that is applied twice is two campaigns.
    assert not any(each.options.get("task_id") for each in group.tasks)


def test_collect_travels_with_each_task(app: Celery) -> None:
    (task,) = deliver_many_via_proxy([{"to": ["ann@example.com"]}], collect=True, app=app, body="B").tasks
    assert task.kwargs["collect"] is True


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
    ],
)
def test_what_is_no_list_of_mails_is_refused(app: Celery, messages: object, common: dict, argument: str) -> None:
    with pytest.raises(InvalidMessage) as caught:
        deliver_many_via_proxy(messages, app=app, **common)  # type: ignore[arg-type]
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
