"""`migrate`: one task, two ways, one contract; and no mail on both ways."""

from __future__ import annotations

import logging
import smtplib
from collections.abc import Iterator
from typing import Any

import pytest
from celery.signals import before_task_publish

from celery_mailproxy.errors import ConfigurationError, DeliveryError, MessageRejected
from celery_mailproxy.migration import get_router, migrate
from celery_mailproxy.testing import FakeProxy

from .migrated_app import Migrated, migrated

MAIL = {"subject": "Receipt", "body": "Thanks", "to": ["to@example.com"]}


def forget_share(one: Migrated) -> None:
    """As after the seconds for which a worker goes by the share that it has read."""
    get_router(one.app)._read_at = None


def task_of(one: Migrated, *, share: float | None = None, **mail: Any) -> Any:
    """A mail task as a project has it, migrated."""

    @one.app.task(shared=False, bind=True, name="shop.receipt", default_retry_delay=0)
    def receipt(self: Any, order: int) -> str:
        if one.body is not None:
            return str(one.body(self, order))
        one.sent.append(order)
        return f"sent {order}"

    return migrate(receipt, to_message=lambda order: {**MAIL, **mail}, share=share)


@pytest.fixture
def proxy() -> Iterator[FakeProxy]:
    with FakeProxy("entities", reports=False) as proxy:
        yield proxy


def test_by_the_proxy_the_message_has_the_tasks_id(proxy: FakeProxy) -> None:
    with migrated(proxy, share=1) as one:
        state, result = one.run(task_of(one), 7)
        assert (state, result) == ("SUCCESS", {"id": "task-1", "queued": 1, "rejected": []})
        assert [message["id"] for message in proxy.received] == ["task-1"]
        assert one.sent == []
        assert one.told == [("mail_queued", "task-1", "proxy")]


def test_the_legacy_way_tells_the_same() -> None:
    with migrated() as one:
        published: list[str] = []

        def note(sender: str, **kwargs: Any) -> None:
            published.append(sender)

        before_task_publish.connect(note)
        task = task_of(one, on_sent=one.app.signature("shop.paid", args=(7,)))
        state, result = one.run(task, 7)
        assert (state, result, one.sent) == ("SUCCESS", "sent 7", [7])
        assert one.told == [("mail_queued", "task-1", "legacy"), ("mail_sent", "task-1", "legacy")]
        delivery = one.runtime.store.get("task-1")
        assert delivery is not None
        assert (delivery.status.value, delivery.server) == ("sent", "legacy")
        assert published == ["shop.paid"]


def test_a_share_of_its_own_is_the_tasks_until_operators_set_one(proxy: FakeProxy) -> None:
    with migrated(proxy) as one:
        task = task_of(one, share=1.0)
        assert one.run(task, 1)[1]["queued"] == 1
        one.runtime.store.set_value("migration.share", "0")
        forget_share(one)
        assert one.run(task, 2, task_id="task-2") == ("SUCCESS", "sent 2")


def test_a_refusal_is_an_error_and_a_retry_is_deferred() -> None:
    with migrated() as one:
        task = task_of(one)

        def refuse(self: Any, order: int) -> Any:
            raise smtplib.SMTPRecipientsRefused({"to@example.com": (550, b"no such user")})

        def later(self: Any, order: int) -> Any:
            raise self.retry(exc=smtplib.SMTPServerDisconnected("gone"))

        one.body = refuse
        assert one.run(task, 1)[0] == "FAILURE"
        one.body = later
        assert one.run(task, 2, task_id="task-2")[0] == "RETRY"
        one.body = None
        assert one.run(task, 2, task_id="task-2", retries=1) == ("SUCCESS", "sent 2")
        assert one.told == [
            ("mail_queued", "task-1", "legacy"),
            ("mail_error", "task-1", "legacy"),
            ("mail_queued", "task-2", "legacy"),
            ("mail_deferred", "task-2", "legacy"),
            ("mail_sent", "task-2", "legacy"),
        ]
        delivery = one.runtime.store.get("task-1")
        assert delivery is not None
        assert delivery.outcome is not None
        assert (delivery.reason, delivery.outcome.code) == ("550 no such user", "550")


def test_a_task_that_has_used_up_its_retries_ends_as_an_error() -> None:
    with migrated() as one:
        task = task_of(one)
        task.max_retries = 1

        def later(self: Any, order: int) -> Any:
            raise self.retry(exc=smtplib.SMTPServerDisconnected("gone"))

        one.body = later
        assert one.run(task, 2, retries=1)[0] == "FAILURE"
        assert one.told[-1] == ("mail_error", "task-1", "legacy")


def test_autoretry_is_deferred_too() -> None:
    with migrated() as one:

        @one.app.task(
            shared=False, autoretry_for=(OSError,), retry_backoff=False, default_retry_delay=0, name="shop.auto"
        )
        def auto(order: int) -> None:
            raise ConnectionRefusedError("SMTP is away")

        task = migrate(auto, to_message=lambda order: MAIL)
        assert one.run(task, 1)[0] == "RETRY"
        assert one.told[-1] == ("mail_deferred", "task-1", "legacy")


def test_what_was_sent_is_not_sent_again() -> None:
    with migrated() as one:
        task = task_of(one)
        one.run(task, 7)
        assert one.run(task, 7) == ("SUCCESS", None)
        assert one.sent == [7]
        assert len(one.told) == 2


def test_what_has_failed_is_not_sent_again() -> None:
    with migrated() as one:
        task = task_of(one)
        one.body = lambda self, order: 1 / 0
        assert one.run(task, 7)[0] == "FAILURE"
        one.body = None
        state, result = one.run(task, 7)
        assert (state, one.sent) == ("FAILURE", [])
        assert isinstance(result, DeliveryError)


@pytest.mark.parametrize("share", ["0", "1"])
def test_a_mail_that_has_begun_keeps_its_way_when_the_share_changes(proxy: FakeProxy, share: str) -> None:
    before = 1 - int(share)
    with migrated(proxy, share=before) as one:
        task = task_of(one)
        if before:
            proxy.fail_next(status=503)
        else:
            one.body = lambda self, order: (_ for _ in ()).throw(self.retry(exc=OSError("away"), throw=False))
        assert one.run(task, 7)[0] == "RETRY"
        one.body = None
        one.runtime.store.set_value("migration.share", share)
        forget_share(one)
        # The proxy closes the connection of its error, at its own time: the next call may find it so.
        states = (one.run(task, 7, retries=retries)[0] for retries in (1, 2, 3))
        assert "SUCCESS" in states
        assert (len(one.sent), len(proxy.received)) == ((0, 1) if before else (1, 0))


def test_what_the_proxy_rejects_fails_the_task(mail_proxy_commands: FakeProxy) -> None:
    with migrated(mail_proxy_commands, share=1) as one:
        state, error = one.run(task_of(one, account_id="nope"), 7)
        assert (state, one.sent) == ("FAILURE", [])
        assert isinstance(error, MessageRejected)
        assert one.told == [("mail_rejected", "task-1", "proxy")]


def test_a_call_without_a_mail_is_the_tasks_alone() -> None:
    with migrated() as one:

        @one.app.task(shared=False, name="shop.maybe")
        def maybe(order: int) -> str:
            return "nothing to do"

        assert one.run(migrate(maybe, to_message=lambda order: None, share=1.0), 7) == ("SUCCESS", "nothing to do")
        assert one.told == []


def test_a_mail_that_cannot_be_made_for_the_proxy_goes_the_legacy_way(caplog: pytest.LogCaptureFixture) -> None:
    with migrated(share=1, shadow=True) as one:
        task = task_of(one, to="no address at all")
        with caplog.at_level(logging.WARNING):
            assert one.run(task, 7) == ("SUCCESS", "sent 7")
        assert one.ways() == {("mail_queued", "legacy"): 1, ("mail_sent", "legacy"): 1}
        assert "no address at all" not in caplog.text
        assert one.runtime.store.counts(since=one.runtime.store.clock())["shadow/failed"] == 1  # type: ignore[attr-defined]


def test_a_task_is_migrated_once() -> None:
    with migrated() as one:
        task = task_of(one)
        with pytest.raises(ConfigurationError, match="once only"):
            migrate(task, to_message=lambda order: MAIL)
        with pytest.raises(ConfigurationError, match="from 0 to 1"):
            task_of_other(one)


def task_of_other(one: Migrated) -> Any:
    @one.app.task(shared=False, name="shop.other")
    def other(order: int) -> None: ...

    return migrate(other, to_message=lambda order: MAIL, share=25)


def test_name_arguments_and_typing_stay(proxy: FakeProxy) -> None:
    with migrated(proxy) as one:
        task = task_of(one)
        assert task.name == "shop.receipt"
        with pytest.raises(TypeError):
            task.apply_async(("too", "many"))
        assert task.run.__name__ == "receipt"
        assert task(5) == "sent 5"
