"""The two relays of HTTP: one notes what is submitted to the proxy, the other plays with the reports that it sends."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import Enum
from typing import Any

import httpx

from tests.harness.relay import Relay
from tests.harness.waiting import PATIENCE_SECONDS

from .ledger import Ledger
from .load import number_of

__all__ = ["Mischief", "ReportRelay", "SubmissionRelay"]

_SUBMIT_PATHS = ("/commands/add-messages", "/messages/add_batch")


class SubmissionRelay(Relay):
    """Before the proxy: notes each submission, and the proxy's answer to it, whoever gets to see it."""

    def __init__(self, target: str, ledger: Ledger) -> None:
        super().__init__(target)
        self._ledger = ledger

    def pass_on(self, method: str, path: str, headers: dict[str, str], body: bytes) -> httpx.Response | None:
        if method != "POST" or path not in _SUBMIT_PATHS:
            return super().pass_on(method, path, headers, body)
        self._ledger.note("submitting", mails=_mails_of(body))
        return super().pass_on(method, path, headers, body)

    def forward(self, method: str, path: str, headers: dict[str, str], body: bytes) -> httpx.Response:
        response = super().forward(method, path, headers, body)
        if method == "POST" and path in _SUBMIT_PATHS:
            self._ledger.note("answered", status=response.status_code, mails=_mails_of(body))
        return response


def _mails_of(body: bytes) -> dict[str, int | None]:
    """message id → the number of the mail."""
    messages = json.loads(body).get("messages", [])
    return {message["id"]: number_of(message["to"][0]) for message in messages}


class Mischief(str, Enum):
    """What the relay does to the reports that it gets."""

    NONE = "none"
    #: Neither passed on nor answered.
    DROP = "drop"
    #: Passed on; the receiver's answer is not.
    SWALLOW = "swallow"
    #: Passed on twice at once.
    DOUBLE = "double"
    #: The later half of a batch first, each from its end; and batches from before come once more.
    REORDER = "reorder"
    #: Passed on after some seconds; other reports overtake.
    DELAY = "delay"


class ReportRelay(Relay):
    """Before the receivers: the proxy's reports go to the next of those that take them.

    `receivers` are base URLs by the first part of the path, which is the tenant's. The proxy gets a receiver's answer;
    only what every part of a batch has been acknowledged for is acknowledged.
    """

    def __init__(self, receivers: Mapping[str, Sequence[str]], ledger: Ledger) -> None:
        super().__init__("http://127.0.0.1:1")
        self._receivers = receivers
        self._ledger = ledger
        self._mischief = Mischief.NONE
        self._delay_seconds = 0.0
        self._turn = 0
        self._earlier: list[tuple[str, dict[str, str], bytes]] = []
        self._guard = threading.Lock()

    @contextmanager
    def playing(self, mischief: Mischief, *, delay_seconds: float = 0.0) -> Iterator[None]:
        self._delay_seconds = delay_seconds
        self._mischief = mischief
        try:
            yield
        finally:
            self._mischief = Mischief.NONE

    def pass_on(self, method: str, path: str, headers: dict[str, str], body: bytes) -> httpx.Response | None:
        mischief = self._mischief if _entries(body) else Mischief.NONE
        if mischief is Mischief.DROP:
            return None
        if mischief is Mischief.DELAY:
            time.sleep(self._delay_seconds)
        bodies = [body]
        if mischief is Mischief.DOUBLE:
            bodies = [body, body]
        if mischief is Mischief.REORDER:
            bodies = _reordered(body)
        response = self._to_all(path, headers, bodies)
        if mischief is Mischief.REORDER:
            self._once_more()
        if _entries(body):
            self._ledger.note(
                "reported",
                ids=[entry.get("id") for entry in _entries(body)],
                errors={entry["id"]: entry.get("error") for entry in _entries(body) if entry.get("error_ts")},
                status=response.status_code if response else None,
                mischief=mischief.value,
            )
            with self._guard:
                self._earlier = [*self._earlier[-9:], (path, headers, body)]
        return None if mischief is Mischief.SWALLOW else response

    def _to_all(self, path: str, headers: dict[str, str], bodies: list[bytes]) -> httpx.Response | None:
        """Pass all on at the same time; the worst answer."""
        answers: list[httpx.Response | None] = [None] * len(bodies)

        def send(index: int) -> None:
            answers[index] = self._to_a_receiver(path, headers, bodies[index])

        threads = [threading.Thread(target=send, args=(index,)) for index in range(1, len(bodies))]
        for thread in threads:
            thread.start()
        send(0)
        for thread in threads:
            thread.join()
        return None if None in answers else max(filter(None, answers), key=lambda answer: answer.status_code)

    def _to_a_receiver(self, path: str, headers: dict[str, str], body: bytes) -> httpx.Response | None:
        """The answer of the first receiver that can be reached, as a balancer does it."""
        _, name, rest = path.split("/", 2)
        urls = self._receivers[name]
        with self._guard:
            self._turn += 1
            turn = self._turn
        for index in range(len(urls)):
            url = urls[(turn + index) % len(urls)]
            try:
                return self._client.post(f"{url}/{rest}", headers=headers, content=body, timeout=PATIENCE_SECONDS)
            except httpx.ConnectError:
                continue
            except httpx.TransportError:
                # It may have taken them.
                return None
        return None

    def _once_more(self) -> None:
        with self._guard:
            earlier = list(self._earlier)
        for path, headers, body in reversed(earlier):
            self._to_a_receiver(path, headers, body)


def _entries(body: bytes) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = json.loads(body or b"{}").get("delivery_report") or []
    return entries


def _reordered(body: bytes) -> list[bytes]:
    entries = _entries(body)[::-1]
    half = (len(entries) + 1) // 2
    return [json.dumps({"delivery_report": part}).encode() for part in (entries[:half], entries[half:]) if part]
