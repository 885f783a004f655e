"""The fake proxy's one worker: lets each mail take its steps in time, and posts the reports."""

from __future__ import annotations

import heapq
import itertools
import threading
import time
from collections.abc import Iterable
from typing import Any

import httpx

from celery_mailproxy.testing.fake.records import Event, FakeRecords, Record, now_text, now_ts
from celery_mailproxy.testing.outcomes import Step, report_entry

__all__ = ["FakeDelivery"]

_SYNC_PATH = "/mail-proxy/sync"


class FakeDelivery:
    """Runs a single thread, however many mails there are.

    Args:
        records: the tables.
        batch_size: how many entries one report may hold.
        resend_seconds: after how long a report that was not acknowledged comes again.
        timeout_seconds: how long an answer to a report may take.
    """

    def __init__(self, records: FakeRecords, *, batch_size: int, resend_seconds: float, timeout_seconds: float) -> None:
        self.records = records
        self.batch_size = batch_size
        self.resend_seconds = resend_seconds
        self.automatic = True
        self.repeat = 1
        self.reverse = False
        self.active = True
        #: tenant → the batches of it that wait, `*` for all.
        self.suspended: dict[str, set[str]] = {}
        self._client = httpx.Client(timeout=timeout_seconds, trust_env=False)
        self._timetable: list[tuple[float, int, int, Record]] = []
        self._serial = itertools.count()
        self._wake = threading.Condition(records.lock)
        self._posting = threading.Lock()
        self._due = False
        self._sync_with: set[str] = set()
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="fake-proxy-delivery", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        with self._wake:
            self._stopped = True
            self._wake.notify_all()
        # The client first: it may be waiting for a slow receiver's answer.
        self._client.close()
        self._thread.join(timeout=5)

    def schedule(self, record: Record, *, keep_delay: bool = True) -> None:
        """Put a message's next step in the timetable, in place of what stands there for it."""
        if not record.is_awaited:
            return
        delay = record.steps[0].delay_seconds if keep_delay and record.steps else 0.0
        if record.deferred_ts is not None and not record.is_healed:
            try:
                delay = max(delay, record.deferred_ts - time.time())
            except TypeError:
                return  # 0.7.0 takes any nonsense for a time, and never sends the mail.
        with self._wake:
            record.generation += 1
            due = time.monotonic() + delay
            heapq.heappush(self._timetable, (due, next(self._serial), record.generation, record))
            self._wake.notify_all()

    def take(self, record: Record, step: Step) -> None:
        """Let a mail take a step now; it is reported with what is reported next."""
        with self._wake:
            self._take(record, step)

    def run_now(self, tenant_id: str | None) -> None:
        """Post what is pending at once, or an empty report to this tenant if nothing is."""
        with self._wake:
            self._due = True
            if tenant_id:
                self._sync_with.add(tenant_id)
            self._wake.notify_all()

    def changed_batches(self, tenant_id: str, batch_code: str | None, how: str) -> set[str] | None:
        """What of a tenant is suspended after that; None where one batch was to be taken out of all."""
        batches = self.suspended.get(tenant_id, set())
        if how == "suspend":
            return batches | {batch_code} if batch_code and "*" not in batches else {"*"}
        if batch_code and "*" in batches:
            return None
        return batches - {batch_code} if batch_code else set()

    def take_steps(self) -> None:
        """Let every mail take the steps that are due."""
        with self._wake:
            while self._timetable and self._timetable[0][0] <= time.monotonic():
                _, _, generation, record = heapq.heappop(self._timetable)
                if record.generation != generation or not record.is_awaited:
                    continue
                if self._is_suspended(record):
                    # Looked at again in a while, with its turn in the timetable.
                    later = time.monotonic() + 0.05
                    heapq.heappush(self._timetable, (later, next(self._serial), generation, record))
                    continue
                record.deferred_ts = None
                self._take(record, self.records.next_step(record))
                self.schedule(record)

    def post_pending(
        self, *, tenant_id: str | None = None, repeat: int | None = None, reverse: bool | None = None
    ) -> int:
        """Post the reports that tenants have not acknowledged, and return how many were acknowledged now."""
        acknowledged = 0
        with self._posting:
            with self.records.lock:
                tenants = [known for known in self.records.pending if tenant_id in (None, known)]
            for known in tenants:
                acknowledged += self._post_pending_of(known, repeat or self.repeat, self.reverse or bool(reverse))
        return acknowledged

    def post(self, tenant_id: str, entries: Iterable[dict[str, Any]]) -> httpx.Response:
        """Post a report with these entries, as they are.

        Raises:
            ValueError: the tenant is unknown or has no URL.
            httpx.TransportError: there was no answer.
        """
        with self.records.lock:
            tenant = self.records.tenants.get(tenant_id)
        if tenant is None or not tenant["client_base_url"]:
            raise ValueError(f"tenant {tenant_id!r} has no client_base_url to report to: call report_to(url)")
        url = tenant["client_base_url"].rstrip("/") + (tenant["client_sync_path"] or _SYNC_PATH)
        auth = tenant["client_auth"] or {}
        headers, basic = {}, None
        if auth.get("method") == "bearer":
            headers["Authorization"] = f"Bearer {auth['token']}"
        elif auth.get("method") == "basic":
            basic = httpx.BasicAuth(auth.get("user", ""), auth.get("password", ""))
        body = {"delivery_report": list(entries)}
        return self._client.post(url, json=body, headers=headers, auth=basic or httpx.USE_CLIENT_DEFAULT)

    def _is_suspended(self, record: Record) -> bool:
        batches = self.suspended.get(record.tenant_id, set())
        return "*" in batches or record.batch_code in batches

    def _take(self, record: Record, step: Step) -> None:
        now = now_ts()
        if step.kind == "sent":
            record.sent_ts = now
            self.records.delivered.append(record.message)
        elif step.kind == "error":
            record.error_ts, record.error = now, step.reason
        elif step.kind == "deferred":
            following = record.steps[0].delay_seconds if record.steps else 60
            record.deferred_ts = int(now + following)
            if self.records.profile == "entities" and step.reason != "rate_limit":
                self.records.nest(record)
        record.updated_at = now_text()
        record.history.append({"event_type": step.kind, "event_ts": now, "description": step.reason})
        entry = report_entry(self.records.profile, record.id, step, now, record.deferred_ts)
        if entry is not None:
            self.records.pending[record.tenant_id].append(Event(record=record, entry=entry, at=now))
            self._due = True

    def _post_pending_of(self, tenant_id: str, repeat: int, reverse: bool) -> int:
        acknowledged = 0
        while True:
            with self.records.lock:
                events = self.records.pending[tenant_id][: self.batch_size]
            if not events:
                return acknowledged
            entries = [event.entry for event in events]
            for _ in range(repeat):
                if not self._is_acknowledged(tenant_id, entries[::-1] if reverse else entries):
                    return acknowledged
            acknowledged += len(events)
            self._mark_reported(tenant_id, events)

    def _mark_reported(self, tenant_id: str, events: list[Event]) -> None:
        with self.records.lock:
            pending = self.records.pending[tenant_id]
            # Others may have cleared the list, or added to its end, while the report was on its way.
            done = set(map(id, events))
            pending[:] = [event for event in pending if id(event) not in done]
            for event in events:
                if event.record:
                    event.record.reported_ts = now_ts()

    def _is_acknowledged(self, tenant_id: str, entries: list[dict[str, Any]]) -> bool:
        try:
            answer = self.post(tenant_id, entries)
            if self.records.profile == "commands-0.5":
                # The others look for further reports at once, but make no call without any.
                while answer.is_success and _queued(answer) > 0 and not self._stopped:
                    answer = self.post(tenant_id, [])
        except (httpx.HTTPError, ValueError, RuntimeError):  # RuntimeError: the client was closed by stop()
            return False
        return answer.is_success

    def _run(self) -> None:
        while True:
            self.take_steps()
            with self._wake:
                due, self._due = self._due, False
                sync_with, self._sync_with = self._sync_with, set()
            if ((due and self.automatic) or sync_with) and self.active:
                idle = [tenant for tenant in sync_with if not self.records.pending.get(tenant)]
                self.post_pending()
                for tenant in idle:
                    self._is_acknowledged(tenant, [])
            with self._wake:
                if self._stopped:
                    return
                if not self._due and not self._sync_with:
                    self._wake.wait(self._pause())

    def _pause(self) -> float | None:
        """Seconds until the next step, or until reports that were refused are due again."""
        times = []
        if self._timetable:
            times.append(max(0.0, self._timetable[0][0] - time.monotonic()))
        if self.automatic and self.active and any(self.records.pending.values()):
            times.append(self.resend_seconds)
            self._due = True
        return min(times, default=None)


def _queued(answer: httpx.Response) -> int:
    try:
        return int(answer.json().get("queued") or 0)
    except (ValueError, AttributeError, TypeError):
        return 0
