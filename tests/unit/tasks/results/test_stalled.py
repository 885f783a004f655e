"""`resume_stalled` over the memory store and an in-memory broker, with a clock that the test sets."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any
from uuid import uuid4

import pytest
from celery import Celery

import celery_mailproxy.tasks  # noqa: F401 - registers the task
from celery_mailproxy.deliveries.delivery import Delivery, Status
from celery_mailproxy.deliveries.report import DeliveryReport, Kind
from celery_mailproxy.deliveries.stores.base import Retention
from celery_mailproxy.deliveries.stores.memory import MemoryStore
from celery_mailproxy.deliveries.suspension import Step, Suspension, SuspensionState
from celery_mailproxy.dispatch.dispatcher import dispatcher_of
from celery_mailproxy.dispatch.resumer import RESUME_HEADER
from celery_mailproxy.runtime import Runtime, forget_runtime, get_runtime
from celery_mailproxy.tasks.results import stalled

START = datetime(2026, 11, 22, 8, tzinfo=timezone.utc)
LEASE = 60.0
S = SuspensionState


class Installation:
    """A runtime whose store has a clock of its own."""

    def __init__(self) -> None:
        self.now = START
        self.queue = f"mails-{uuid4()}"
        self.app = Celery("janitor", broker="memory://", set_as_current=False)
        self.app.conf.update(mail_proxy_url="http://127.0.0.1:9", mail_proxy_store="memory://", mail_proxy_events=False)
        self.store = MemoryStore(Retention(lease_seconds=LEASE), clock=lambda: self.now)
        self.runtime: Runtime = get_runtime(self.app)
        self.runtime.store = self.store

    def add(
        self,
        state: SuspensionState,
        *,
        status: Status = Status.NEW,
        kwargs: Any = None,
        members: tuple[str, ...] = (),
        expires: datetime | None = None,
        **fields: Any,
    ) -> str:
        message_id = str(uuid4())
        content: list[Any] = [[], {"to": ["ann@example.com"]} if kwargs is None else kwargs, {}]
        record: dict[str, Any] = {"n": "deliver", "s": "json", "r": {"queue": self.queue}, "j": content}
        if expires is not None:
            record["x"] = expires.isoformat()
        message = json.dumps(record)
        suspension = Suspension(state=state, owner=message_id, since=self.now, message=message, **fields)
        delivery = Delivery(
            message_id=message_id,
            created_at=START,
            updated_at=START,
            status=status,
            suspension=suspension,
            members=members,
        )
        self.store.register([delivery])
        return message_id

    def state(self, message_id: str) -> SuspensionState:
        delivery = self.store.get(message_id)
        assert delivery is not None
        assert delivery.suspension is not None
        return delivery.suspension.state

    def run(self, *, after: timedelta) -> dict[str, int]:
        self.now += after
        counts = stalled.move_on_stalled(self.runtime, now=self.now, lease_seconds=LEASE, limit=100)
        return {outcome: number for outcome, number in counts.items() if number}

    def published(self) -> list[Any]:
        """The headers of what has been published since."""
        found = []
        with self.app.connection_for_read() as connection, connection.SimpleQueue(self.queue) as queue:
            while len(queue):
                message = queue.get(block=False)
                message.ack()
                found.append(message.headers)
        return found


@pytest.fixture
def installation() -> Iterator[Installation]:
    installation = Installation()
    yield installation
    forget_runtime(installation.app)
    installation.app.close()


@pytest.mark.parametrize("state", [S.REPORTED, S.PUBLISHED, S.EARLY, S.RUNNING])
def test_a_stalled_result_is_resumed_once(installation: Installation, state: SuspensionState) -> None:
    message_id = installation.add(state, token="t1" if state is S.RUNNING else None)
    assert installation.run(after=timedelta(seconds=30)) == {}
    assert installation.run(after=timedelta(seconds=31)) == {"resumed": 1}
    assert installation.state(message_id) is S.PUBLISHED
    assert installation.run(after=timedelta(0)) == {}
    (headers,) = installation.published()
    assert (headers["id"], headers[RESUME_HEADER]["id"]) == (message_id, message_id)


def test_a_runner_that_was_taken_for_dead_cannot_finish(installation: Installation) -> None:
    message_id = installation.add(S.RUNNING, token="t1")
    installation.run(after=timedelta(seconds=61))
    (headers,) = installation.published()
    assert not installation.store.advance(message_id, Step.FINISH, token="t1").is_allowed
    assert installation.store.advance(message_id, Step.CLAIM, token=headers[RESUME_HEADER]["token"]).is_allowed


def test_a_revoked_task_is_not_brought_back(installation: Installation) -> None:
    installation.app.conf.result_backend = "cache+memory://"
    message_id = installation.add(S.PUBLISHED)
    installation.app.backend.store_result(message_id, None, "REVOKED")
    assert installation.run(after=timedelta(seconds=61)) == {"revoked": 1}
    assert installation.state(message_id) is S.DONE
    assert installation.published() == []


def test_a_revoked_task_whose_mail_the_proxy_never_had_is_not_submitted(installation: Installation) -> None:
    """The worker that heard of the revocation died before it could end the mail."""
    installation.app.conf.result_backend = "cache+memory://"
    message_id = installation.add(S.NEW)
    installation.app.backend.store_result(message_id, None, "REVOKED")
    assert installation.run(after=timedelta(hours=3)) == {"revoked": 1}
    assert installation.state(message_id) is S.DONE
    delivery = installation.store.get(message_id)
    assert delivery is not None
    assert (delivery.status, delivery.reason) == (Status.ERROR, "the task was revoked before the email was sent")
    assert installation.published() == []


def test_an_expired_task_whose_mail_the_proxy_never_had_is_not_submitted(installation: Installation) -> None:
    message_id = installation.add(S.NEW, expires=START + timedelta(hours=1))
    assert installation.run(after=timedelta(hours=3)) == {"given_up": 1}
    delivery = installation.store.get(message_id)
    assert delivery is not None
    assert (delivery.status, delivery.reason) == (Status.ERROR, "the task expired before the email was sent")
    assert installation.published() == []


def test_a_task_that_is_submitted_again_expires_as_before(installation: Installation) -> None:
    expires = START + timedelta(hours=9)
    installation.add(S.NEW, expires=expires)
    assert installation.run(after=timedelta(hours=3)) == {"submitted": 1}
    (headers,) = installation.published()
    assert datetime.fromisoformat(headers["expires"]) == expires


def test_a_task_that_is_resumed_does_not_expire(installation: Installation) -> None:
    installation.add(S.REPORTED, expires=START + timedelta(seconds=1))
    assert installation.run(after=timedelta(hours=3)) == {"resumed": 1}
    (headers,) = installation.published()
    assert headers["expires"] is None


def test_a_message_that_cannot_be_read_holds_up_no_other(
    installation: Installation, caplog: pytest.LogCaptureFixture
) -> None:
    broken = installation.add(S.REPORTED)
    good = installation.add(S.REPORTED)
    kept = installation.store.get(broken)
    assert kept is not None
    assert kept.suspension is not None
    damaged = replace(kept, suspension=replace(kept.suspension, message="{"))
    installation.store._shelf.deliveries[broken] = damaged
    assert installation.run(after=timedelta(seconds=61)) == {"resumed": 1}
    (headers,) = installation.published()
    assert headers["id"] == good
    assert f"message {broken} could not be moved on" in caplog.text


def test_those_that_are_not_stalled_do_not_use_up_the_limit(installation: Installation) -> None:
    for _ in range(5):
        installation.add(S.NEW)
        installation.add(S.WAITING)
    installation.now += timedelta(seconds=1)
    installation.add(S.REPORTED)
    installation.now += timedelta(seconds=61)
    counts = stalled.move_on_stalled(installation.runtime, now=installation.now, lease_seconds=LEASE, limit=1)
    assert counts["resumed"] == 1


def test_what_rests_is_left_alone(installation: Installation) -> None:
    for state in (S.WAITING, S.DONE):
        installation.add(state)
    assert installation.run(after=timedelta(days=20)) == {}


def test_a_lost_submission_is_submitted_again_once_no_retry_can_be_under_way(installation: Installation) -> None:
    message_id = installation.add(S.NEW)
    assert installation.run(after=timedelta(minutes=119)) == {}
    installation.store.advance(message_id, Step.RENEW)
    assert installation.run(after=timedelta(minutes=119)) == {}
    assert installation.run(after=timedelta(minutes=3)) == {"submitted": 1}
    (headers,) = installation.published()
    assert headers["id"] == message_id
    assert RESUME_HEADER not in headers
    assert installation.state(message_id) is S.NEW
    assert installation.run(after=timedelta(minutes=1)) == {}


def test_a_submission_that_lacks_only_its_mark_gets_it(installation: Installation) -> None:
    message_id = installation.add(S.NEW, status=Status.QUEUED)
    assert installation.run(after=timedelta(hours=3)) == {"waiting": 1}
    assert installation.state(message_id) is S.WAITING
    assert installation.published() == []


def test_a_lost_submission_whose_arguments_were_not_kept_ends_as_error(installation: Installation) -> None:
    message_id = installation.add(S.NEW, kwargs={})
    assert installation.run(after=timedelta(hours=3)) == {"given_up": 1}
    assert installation.state(message_id) is S.EARLY
    assert installation.run(after=timedelta(seconds=61)) == {"resumed": 1}
    (headers,) = installation.published()
    assert headers[RESUME_HEADER]["id"] == message_id


def test_a_lost_mail_to_each_recipient_ends_with_those_that_the_proxy_has(installation: Installation) -> None:
    message_id = installation.add(S.NEW, kwargs={}, members=("ann@example.com", "bob@example.com"))
    for status, number in ((Status.QUEUED, 0), (Status.NEW, 1)):
        member = Delivery(
            message_id=f"{message_id}-{number}",
            parent_id=message_id,
            created_at=START,
            updated_at=START,
            status=status,
        )
        installation.store.register([member])
    # The other one has never reached the proxy.
    assert installation.run(after=timedelta(hours=3)) == {"given_up": 1}
    assert installation.state(message_id) is S.WAITING
    lost = installation.store.get(f"{message_id}-1")
    assert lost is not None
    assert lost.status is Status.ERROR
    report = DeliveryReport(kind=Kind.SENT, message_id=f"{message_id}-0", at=START)
    dispatcher_of(installation.runtime).dispatch([report])
    assert installation.state(message_id) is S.PUBLISHED
    (headers,) = installation.published()
    assert headers[RESUME_HEADER]["id"] == message_id


def test_a_lost_mail_whose_recipients_were_never_registered_ends(installation: Installation) -> None:
    message_id = installation.add(S.NEW, kwargs={}, members=("ann@example.com",))
    assert installation.run(after=timedelta(hours=3)) == {"given_up": 1}
    assert installation.state(message_id) is S.EARLY
    assert installation.run(after=timedelta(seconds=61)) == {"resumed": 1}


def test_an_end_that_comes_between_the_look_and_the_step_is_not_submitted(installation: Installation) -> None:
    message_id = installation.add(S.NEW)
    stalled = installation.store.stalled

    def stalled_and_then_reported(**arguments: Any) -> list[Delivery]:
        found = stalled(**arguments)
        report = DeliveryReport(kind=Kind.SENT, message_id=message_id, at=START)
        installation.store.record([report], claim="c")
        return found

    installation.store.stalled = stalled_and_then_reported  # type: ignore[method-assign]
    # The report is fresh: whoever it concerns has a lease's time.
    assert installation.run(after=timedelta(hours=3)) == {}
    assert installation.state(message_id) is S.EARLY
    assert installation.published() == []


def test_a_message_is_not_published_twice_by_two_janitors(installation: Installation) -> None:
    installation.add(S.PUBLISHED)
    installation.now += timedelta(seconds=61)
    found = installation.store.stalled(before=installation.now)
    installation.store.stalled = lambda **arguments: found  # type: ignore[method-assign]
    assert [installation.run(after=timedelta(0)) for _ in range(2)] == [{"resumed": 1}, {}]


def test_the_task_counts_what_it_did(installation: Installation) -> None:
    # The task has the real clock, and for it START is long ago or far ahead.
    installation.now = datetime.now(timezone.utc) - timedelta(seconds=LEASE)
    installation.runtime.retention = Retention(lease_seconds=LEASE)
    installation.add(S.REPORTED)
    installation.now += timedelta(seconds=LEASE + 1)
    result = installation.app.tasks["celery_mailproxy.resume_stalled"].apply()
    assert result.get() == {"resumed": 1, "submitted": 0, "waiting": 0, "given_up": 0, "revoked": 0}
