"""`migrate`: one task, two ways, one contract; and no mail on both ways."""

from __future__ import annotations

import logging
import smtplib
import subprocess
import sys
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from celery.app.task import Context
from celery.signals import before_task_publish, task_revoked

from celery_mailproxy import CancelOutcome, CancelSend, Status, cancel, signals
from celery_mailproxy.deliveries.suppression import Cause, SuppressedAddress
from celery_mailproxy.errors import (
    ConfigurationError,
    DeliveryCancelled,
    DeliveryError,
    DeliveryExpired,
    DeliverySuppressed,
    MessageRejected,
)
from celery_mailproxy.migration import get_router, migrate
from celery_mailproxy.runtime import forget_runtime
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
        assert one.runtime.store.counts(since=one.runtime.store.clock())["shadow/failed"] == 1


def test_a_task_is_migrated_once() -> None:
    with migrated() as one:
        task = task_of(one)
        with pytest.raises(ConfigurationError, match="once only"):
            migrate(task, to_message=lambda order: MAIL)


@pytest.mark.parametrize("share", [25, -0.1, float("nan"), True, "much"])
def test_a_share_of_its_own_is_checked(share: Any) -> None:
    with migrated() as one, pytest.raises(ConfigurationError, match=r"^share must be"):
        migrate(other_task(one), to_message=lambda order: MAIL, share=share)


def test_what_is_migrated_must_be_a_task_and_its_mail_be_made() -> None:
    with migrated() as one:
        task = other_task(one)
        for what in (type(task), "shop.other", len):
            with pytest.raises(ConfigurationError, match="must be given a task"):
                migrate(what, to_message=lambda order: MAIL)
        with pytest.raises(ConfigurationError, match="to_message must be a function"):
            migrate(task, to_message=5)  # type: ignore[arg-type]


def test_a_shared_task_without_an_app_is_refused() -> None:
    """In a process of its own, for here there are apps already."""
    done = subprocess.run([sys.executable, "-c", EARLY], capture_output=True, text=True, check=False)
    assert done.stdout == "task shop.receipt has no app yet\nTrue\n", done.stderr


EARLY = """
from celery import Celery, shared_task
from celery_mailproxy.errors import ConfigurationError
from celery_mailproxy.migration import migrate

@shared_task(name="shop.receipt")
def receipt(order): ...

try:
    migrate(receipt, to_message=dict)
except ConfigurationError as exc:
    print(str(exc).partition(":")[0])
app = Celery("shop")
print(migrate(receipt, to_message=dict).run.is_migrated)
"""


def other_task(one: Migrated) -> Any:
    @one.app.task(shared=False, name="shop.other")
    def other(order: int) -> None: ...

    return other


def test_name_arguments_and_typing_stay(proxy: FakeProxy) -> None:
    with migrated(proxy) as one:
        task = task_of(one)
        assert task.name == "shop.receipt"
        with pytest.raises(TypeError):
            task.apply_async(("too", "many"))
        assert task.run.__name__ == "receipt"
        assert task(5) == "sent 5"


# -------------------------------------------------------------------- revoked


def revoke(one: Migrated, task: Any, *, retries: int = 1, redelivered: bool = False, **how: bool) -> None:
    """As a worker that takes the call, and finds it revoked."""
    request = Context(id="task-1", args=[7], kwargs={}, retries=retries, delivery_info={"redelivered": redelivered})
    told = {"terminated": False, "expired": False, **how}
    task_revoked.send(sender=task, request=request, signum=None, **told)


def deferred(one: Migrated, *, share: float = 0) -> Any:
    """A migrated task that waits for its next try."""
    task = task_of(one, share=share, on_error=one.app.signature("shop.failed"))
    one.body = lambda self, order: (_ for _ in ()).throw(self.retry(exc=OSError("away"), throw=False))
    assert one.run(task, 7)[0] == "RETRY"
    one.told.clear()
    return task


@pytest.mark.parametrize(("expired", "what"), [(False, "was revoked"), (True, "expired")])
def test_a_task_that_is_revoked_before_its_next_try_ends_its_mail(expired: bool, what: str) -> None:
    published: list[str] = []

    def note(sender: str, **kwargs: Any) -> None:
        published.append(sender)

    with migrated() as one:
        task = deferred(one)
        before_task_publish.connect(note)
        revoke(one, task, expired=expired)
        assert one.told == [("mail_error", "task-1", "legacy")]
        assert published == ["shop.failed"]
        delivery = one.runtime.store.get("task-1")
        assert delivery is not None
        assert (delivery.status.value, delivery.reason) == ("error", f"the task {what} before the email was sent")


@pytest.mark.parametrize("how", [{"terminated": True}, {"redelivered": True}, {"retries": 0}])
def test_a_mail_that_may_have_been_sent_is_not_ended(how: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    with migrated() as one:
        task = deferred(one)
        revoke(one, task, **how)
        assert one.told == []
        assert "it may have been sent" in caplog.text


def test_a_mail_that_was_sent_stays_so() -> None:
    with migrated() as one:
        task = task_of(one)
        one.run(task, 7)
        revoke(one, task)
        assert one.told[-1] == ("mail_sent", "task-1", "legacy")


def test_a_revoked_call_that_nobody_knows_of_has_no_end() -> None:
    with migrated() as one:
        revoke(one, task_of(one), retries=0)
        assert one.told == []


def test_a_mail_that_waits_for_the_proxy_ends_with_its_task(proxy: FakeProxy) -> None:
    with migrated(proxy, share=1) as one:
        task = task_of(one)
        with proxy.down():
            assert one.run(task, 7)[0] == "RETRY"
        revoke(one, task)
        assert one.told == [("mail_error", "task-1", "proxy")]


def test_another_tasks_mail_is_not_ended() -> None:
    with migrated() as one:

        @one.app.task(shared=False, name="shop.unmigrated")
        def unmigrated(order: int) -> None: ...

        deferred(one)
        revoke(one, unmigrated)
        assert one.told == []


def test_a_store_that_is_away_stops_no_worker(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").touch()
    with migrated() as one:
        task = deferred(one)
        forget_runtime(one.app)
        one.app.conf.update(mail_proxy_store=f"sqlite:///{tmp_path}/file/deliveries.sqlite3")
        revoke(one, task)
        assert "could not be ended" in caplog.text


def test_the_legacy_transport_sends_no_mail_that_has_expired() -> None:
    with migrated() as one:
        state, error = one.run(task_of(one, expires_at=1_000_000_000), 7)
        assert (state, type(error), one.sent) == ("FAILURE", DeliveryExpired, [])
        delivery = one.runtime.store.get("task-1")
        assert delivery is not None
        assert delivery.status is Status.EXPIRED


def test_the_legacy_transport_sends_no_mail_to_a_suppressed_address() -> None:
    with migrated() as one:
        one.app.conf.mail_proxy_suppression = True
        forget_runtime(one.app)
        now = datetime(2026, 3, 2, tzinfo=timezone.utc)
        entry = SuppressedAddress(address="to@example.com", cause=Cause.COMPLAINED, at=now)
        one.runtime.store.suppression.add([entry])
        state, error = one.run(task_of(one), 7)
        assert (state, type(error), one.sent) == ("FAILURE", DeliverySuppressed, [])
        delivery = one.runtime.store.get("task-1")
        assert delivery is not None
        assert delivery.status is Status.SUPPRESSED


def test_a_handler_withdraws_also_what_the_legacy_transport_would_send() -> None:
    def handler(**kwargs: Any) -> None:
        raise CancelSend("unsubscribed")

    with migrated() as one:
        signals.mail_submitting.connect(handler, sender=one.app)
        state, error = one.run(task_of(one, metadata={"order": 7}, tags=["receipt"]), 7)
        assert (state, type(error), error.reason, one.sent) == ("FAILURE", DeliveryCancelled, "unsubscribed", [])
        delivery = one.runtime.store.get("task-1")
        assert delivery is not None
        assert (delivery.status, delivery.labels) == (
            Status.CANCELLED,
            {"metadata": {"order": 7}, "tags": ["receipt"]},
        )


def test_a_cancelled_mail_is_not_sent_through_the_legacy_transport_either() -> None:
    with migrated() as one:
        assert cancel("task-1", app=one.app).outcome is CancelOutcome.UNKNOWN
        task = task_of(one)
        state, error = one.run(task, 7)
        assert (state, type(error), one.sent) == ("FAILURE", DeliveryCancelled, [])


@pytest.mark.parametrize("failures", [1, 5])
def test_a_cancelled_mail_does_not_fall_back(proxy: FakeProxy, failures: int) -> None:
    with migrated(proxy, share=1, fallback="unreachable", breaker_failures=failures) as one, proxy.down():
        task = task_of(one)
        # With the breaker open, and with it closed.
        assert one.run(task, 7, task_id="other")[0] == "SUCCESS"
        cancel("task-1", app=one.app)
        state, error = one.run(task, 7)
        assert (state, type(error)) == ("FAILURE", DeliveryCancelled)
        assert one.sent == [7]


@pytest.mark.parametrize(
    ("mail", "sent"),
    [
        ({"to": "qa@team.example"}, [7]),
        ({"to": "ann@example.com"}, []),
        ({"to": ["qa@team.example", "ann@example.com"]}, []),
        ({"to": "no address"}, []),
    ],
)
@pytest.mark.parametrize("has_redirect", [True, False])
def test_a_staging_systems_own_tasks_send_to_nobody_outside(
    mail: dict[str, Any], sent: list[int], has_redirect: bool
) -> None:
    """The body cannot be told of other recipients."""
    with migrated() as one:
        one.app.conf.mail_proxy_allowed_recipients = ["@team.example"]
        if has_redirect:
            one.app.conf.mail_proxy_redirect_to = "qa@team.example"
        forget_runtime(one.app)
        assert one.run(task_of(one, **mail), 7)[0] == ("SUCCESS" if sent else "FAILURE")
        assert one.sent == sent
