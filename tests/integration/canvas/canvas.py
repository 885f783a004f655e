"""`Canvas`: a mail stack with short words for what a test of Celery's canvas builds, and for what must come of it."""

from __future__ import annotations

import itertools
import time
from collections import Counter
from typing import Any

import httpx

from celery_mailproxy.deliveries.suspension import SuspensionState

from ...harness.mail_stack import MODULE, MailStack
from ...harness.relay import Relay
from ...harness.waiting import PATIENCE_SECONDS

__all__ = ["Canvas"]


class Canvas:
    """What `once()` and `never()` give is counted when the combination's last test is over (`assert_all_ran`)."""

    #: Of all of a process: a proxy may serve several.
    _numbers = itertools.count(1)

    def __init__(self, stack: MailStack, *, relay: Relay | None, backend: str) -> None:
        self.stack = stack
        self.app = stack.app
        self.relay: Any = relay
        self.proxy: Any = stack.tenant.proxy
        self.backend = backend
        self._once: list[str] = []
        self._never: list[str] = []

    # What a canvas is made of

    def mail(self, to: str = "ann", **arguments: Any) -> Any:
        """A mail with content of its own. `to` says what becomes of it: see the plans in `conftest`."""
        return self.app.tasks["celery_mailproxy.deliver_via_proxy"].si(**self._content(to), **arguments)

    def own(self, name: str, to: str = "ann", **arguments: Any) -> Any:
        """A mail by a task of `mail_app`."""
        return self.task(name, **self._content(to), **arguments)

    def _content(self, to: str) -> dict[str, Any]:
        # The proxy knows what it delivered by the subject.
        return {"to": [f"{to}@example.com"], "subject": f"Mail {next(self._numbers)}", "body": "B"}

    def task(self, name: str, *args: Any, **kwargs: Any) -> Any:
        return self.app.signature(f"{MODULE}.{name}", args=args, kwargs=kwargs)

    def once(self) -> Any:
        """A task that must run once. It returns its number."""
        return self._step(self._once)

    def never(self) -> Any:
        """A task that must not run."""
        return self._step(self._never)

    def _step(self, steps: list[str]) -> Any:
        number = next(self._numbers)
        steps.append(str(number))
        return self.task("add", number=number)

    # What came of it

    @property
    def has_results(self) -> bool:
        return self.backend != "none"

    def get(self, result: Any, **options: Any) -> Any:
        # Backends that have to be asked are asked more often than Celery would.
        return result.get(timeout=PATIENCE_SECONDS, interval=0.1, **options)

    def returns(self, result: Any, value: Any) -> None:
        """Where there are results: this one is that value, or what another step returns."""
        if self.has_results:
            assert self.get(result) == value

    def wait(self, step: Any) -> Any:
        """Wait until the step has run; what it was called with."""
        (value, *_) = self.wait_until(lambda: self.ran(step), what=f"the step {step}")
        return value

    def ran(self, step: Any) -> list[Any]:
        """What each run of the step was called with."""
        number = str(step.kwargs["number"])
        return [event["value"] for event in self.events if event["name"] == "add" and event["id"] == number]

    def wait_sent(self, *results: Any) -> None:
        """Wait until these mails' tasks have succeeded with the report that they were sent."""
        for result in results:
            assert self.wait_told(result, "task_success")["value"]["kind"] == "sent"
            if self.has_results:
                report = self.get(result)
                assert (report["kind"], report["message_id"]) == ("sent", result.id)

    def wait_failed(self, *results: Any) -> None:
        """Wait until these mails' tasks have failed."""
        for result in results:
            assert "was not delivered" in self.wait_told(result, "task_failure")["error"]

    def wait_told(self, result: Any, name: str) -> dict[str, Any]:
        events: list[dict[str, Any]]
        events = self.wait_until(lambda: self.told(result, name), what=f"{name} of {result.id}")
        return events[0]

    def told(self, result: Any, name: str) -> list[dict[str, Any]]:
        return [event for event in self.events if event["id"] == result.id and event["name"] == name]

    def wait_state(self, result: Any, *states: SuspensionState) -> Any:
        """Wait until the suspended result stands there; the delivery."""

        def reached() -> Any:
            delivery = self.stack.delivery(result.id)
            is_there = delivery is not None and delivery.suspension is not None and delivery.suspension.state in states
            return delivery if is_there else None

        return self.wait_until(reached, what=f"{states} of {result.id}")

    def wait_until(self, condition: Any, *, what: str) -> Any:
        return self.stack.wait_until(condition, what=what)

    def report(self, *results: Any, error: str | None = None, **fields: Any) -> None:
        """Report the mails in one POST: as sent, unless something else is said."""
        now = int(time.time())
        if not fields:
            fields = {"sent_ts": now} if error is None else {"error_ts": now, "error": error}
        answer: httpx.Response = self.stack.post_reports(*({"id": result.id, **fields} for result in results))
        assert answer.status_code == 200

    def end(self, result: Any, **how: Any) -> None:
        """Report the mail once its task's first run is over: the result then takes a second one."""
        self.wait_state(result, SuspensionState.WAITING)
        self.report(result, **how)

    @property
    def events(self) -> list[dict[str, Any]]:
        return self.stack.events

    def assert_all_ran(self) -> None:
        """Every step of all tests ran as often as said, and no mail was sent or ended twice."""
        # Once for all: what ran too often, or should not have run, has done so by then.
        self.stack.drain()
        ran = Counter(event["id"] for event in self.events if event["name"] == "add")
        assert {number: ran[number] for number in self._once if ran[number] != 1} == {}
        assert [number for number in self._never if ran[number]] == []
        ends = Counter(event["id"] for event in self.events if event["name"] in ("task_success", "task_failure"))
        assert [task_id for task_id, count in ends.items() if count > 1] == []
        sent = Counter(message["subject"] for message in getattr(self.proxy, "delivered", ()))
        assert [subject for subject, count in sent.items() if count > 1 and subject.startswith("Mail ")] == []
