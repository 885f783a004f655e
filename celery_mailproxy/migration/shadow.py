"""Shadow: what the proxy would have made of a mail that the legacy transport sent. Only operators are notified."""

from __future__ import annotations

import logging
import threading
from collections import deque
from contextlib import suppress
from datetime import datetime, timezone

from ..dispatch.counters import counters_of
from ..dispatch.events import events_of
from ..errors import MailProxyError, redact
from ..mail.payload import encode
from ..runtime import Runtime
from ..tasks.sending.gate import gate_of
from ..tasks.sending.outgoing import Outgoing

__all__ = ["shadow", "shadow_failed"]

logger = logging.getLogger(__name__)

#: How many mails wait at most, attachments and all. What comes on top is not tried: this is a sample, and no mail.
_LIMIT = 20


def shadow(runtime: Runtime, outgoing: Outgoing) -> None:
    """Try the mail beside its task, which does not wait for it. Never raises.

    It is encoded for the proxy, and submitted for the sandbox tenant where one is named. What would have failed is
    logged by id, counted (`shadow/failed`), and sent as the event `mail-shadow-failed`.
    """
    settings = runtime.settings.migration
    if settings is None or not settings.shadow:
        return
    if not runtime.part(_Shadow).add(outgoing):
        counters_of(runtime).note("shadow/skipped")


class _Shadow:
    """Mails that wait to be tried, and the thread that tries them: a proxy that hangs holds up the next shadow only.

    A task of its own would need the mail on the broker once more, and a place in the pool for as long as the proxy
    hangs. The thread ends when nothing waits; it is a daemon, for which no process stays.
    """

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._lock = threading.Lock()
        self._waiting: deque[Outgoing] = deque()
        self._is_running = False

    def add(self, outgoing: Outgoing) -> bool:
        """Whether the mail will be tried."""
        with self._lock:
            if len(self._waiting) >= _LIMIT:
                return False
            self._waiting.append(outgoing)
            if self._is_running:
                return True
            self._is_running = True
        try:
            threading.Thread(target=self._run, name="mailproxy-shadow", daemon=True).start()
        except RuntimeError:
            # The process has no room for one, or is about to end.
            with self._lock:
                self._waiting.clear()
                self._is_running = False
            return False
        return True

    def _run(self) -> None:
        while True:
            with self._lock:
                if not self._waiting:
                    self._is_running = False
                    return
                outgoing = self._waiting.popleft()
            # Whatever the store raises besides: the thread has to come back for the next one.
            with suppress(Exception):
                _try(self._runtime, outgoing)


def _try(runtime: Runtime, outgoing: Outgoing) -> None:
    try:
        _encode_and_submit(runtime, outgoing)
    except Exception as exc:
        shadow_failed(runtime, outgoing.message.message_id, exc)
        return
    counters_of(runtime).note("shadow/passed")


def _encode_and_submit(runtime: Runtime, outgoing: Outgoing) -> None:
    message = outgoing.message
    payload = encode(message, now=datetime.now(timezone.utc))
    settings = runtime.settings.migration
    if settings is None or settings.shadow_tenant is None:
        return
    client = runtime.client(message.server)
    # An id of its own: the mail itself may come to the proxy later, when the share is raised.
    own_id = f"shadow-{message.message_id}"[:255]
    # Also a sandbox may send.
    payload = encode(gate_of(runtime).restricted(message), now=datetime.now(timezone.utc))
    copy = {**payload, "id": own_id, "tenant_id": settings.shadow_tenant}
    if message.account_id is None and client.server.account is not None:
        copy.setdefault("account_id", client.server.account)
    client.submit([copy]).raise_for(own_id)


def shadow_failed(runtime: Runtime, message_id: str, error: Exception) -> None:
    """Tell of a mail that the proxy would not have sent, where shadow is on."""
    settings = runtime.settings.migration
    if settings is None or not settings.shadow:
        return
    problem = redact(str(error)) if isinstance(error, MailProxyError) else type(error).__name__
    redacted = getattr(error, "redacted", None)
    if redacted is not None:
        problem = str(redacted())
    logger.warning("shadow: message %s would have failed on its way to the proxy: %s", message_id, problem)
    counters_of(runtime).note("shadow/failed")
    events_of(runtime).emit("mail-shadow-failed", {"message_id": message_id, "problem": problem})
