"""`Healer`: gives a mail to the proxy again that the proxy has nested in its own row, or has lost that way.

The proxy's row is all there is of the content: it is read over the proxy's API and goes back the same way, and nothing
of it is kept here. See `proxy.nested_mail` for the damage, and `deliveries.losses` for how it shows.

| the proxy has | then |
| --- | --- |
| the mail, in order | nothing: another run, or a later release, has done better |
| the mail nested, yet to be tried | it is submitted under its id, with the time of its next try |
| the mail nested, and given up | a spare copy is added, the mail deleted and added, the copy deleted |
| the spare copy alone | a run was killed in the midst: the mail is added, the copy deleted |
| neither, and it was lost | the mail ends as `error` |
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

from celery import shared_task
from celery.exceptions import SoftTimeLimitExceeded
from kombu.exceptions import OperationalError

from ..conf import task_names
from ..deliveries.delivery import Delivery
from ..deliveries.losses import has_been_lost, healing_lease, is_lost, refusals
from ..deliveries.report import DeliveryReport, Kind, utcnow
from ..deliveries.stores.base import DeliveryStore
from ..dispatch.dispatcher import Dispatcher, dispatcher_of
from ..errors import MailProxyError, ProxyUnavailable, StoreError, redact, visible
from ..proxy.client import ProxyClient
from ..proxy.nested_mail import is_ended, is_nested, spare_id, unnested
from ..runtime import Runtime, configured_runtime
from .confirmed_task import ConfirmedTask
from .sending.retrying import DURABLE, TIME_LIMITS, lasts, retries_left, retry_in, retry_later
from .sending.unforeseen import unforeseen

__all__ = ["RETRY_SECONDS", "Healer", "HealingElsewhere", "heal_mail", "healer_of"]

logger = logging.getLogger(__name__)

#: How long a mail waits after each time that an SMTP server has deferred it: as long as the proxy means it to wait.
#: Its own count begins anew each time, and it would try for ever.
RETRY_SECONDS = (60, 300, 900, 3600, 7200)

#: A spare copy is never due: the last second that a column of 32 bits holds.
_NEVER = 2**31 - 1

#: A run that is about to call the proxy has the mail to itself for so much longer than the call may take.
_LEASE_MARGIN_SECONDS = 5.0


class HealingElsewhere(MailProxyError):
    """Another run has this mail in hand; one that was killed has it for `seconds` more at most."""

    def __init__(self, message_id: str, seconds: float) -> None:
        super().__init__(message_id, seconds)
        self.message_id = message_id
        self.seconds = seconds

    def __str__(self) -> str:
        return f"message {visible(self.message_id)} is being healed by another run"


class Healer:
    """Heals mails, each as often as the proxy damages it. Killed at any point, it goes on where it was."""

    def __init__(
        self,
        *,
        store: DeliveryStore,
        client_for: Callable[[str], ProxyClient],
        dispatcher: Dispatcher,
        retry_seconds: Sequence[int] = RETRY_SECONDS,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._client_for = client_for
        self._dispatcher = dispatcher
        self._retry_seconds = retry_seconds
        self._monotonic = monotonic

    def heal(self, message_id: str) -> None:
        """Look at the mail at its proxy, and do what it needs (see above). May be called at any time.

        Raises `HealingElsewhere`, and what `ProxyClient`, the store and dispatching raise: then it is to be called
        again.
        """
        delivery = self._open(message_id)
        if delivery is None:
            return
        client = self._client_for(delivery.server)
        seconds = client.server.timeout_seconds + _LEASE_MARGIN_SECONDS
        hold = _Hold(self._store, message_id, seconds=seconds, monotonic=self._monotonic)
        hold.renew()
        try:
            self._heal(delivery, client, hold)
        finally:
            hold.release()

    def give_up(self, message_id: str, problem: str) -> None:
        """End a mail as `error` that cannot be healed. Raises what dispatching raises."""
        delivery = self._open(message_id)
        if delivery is not None:
            self._end(delivery, f"the proxy damaged the email, and it could not be healed: {problem}")

    def _heal(self, delivery: Delivery, client: ProxyClient, hold: _Hold) -> None:
        message_id, tenant_id = delivery.message_id, delivery.tenant_id
        row = client.row(message_id, tenant_id) if tenant_id else None
        if row is not None and not is_nested(row):
            self._forget_spare(delivery, client, hold)
            return
        deferred = refusals(delivery)
        if len(deferred) > len(self._retry_seconds):
            self._delete(client, tenant_id, [message_id, spare_id(message_id)], hold)
            self._end(delivery, f"given up after {len(deferred)} attempts: {deferred[-1].reason}")
        elif row is None or tenant_id is None:
            self._restore(delivery, client, hold)
        elif not is_ended(row):
            self._add(delivery, client, row, hold)
        elif has_been_lost(delivery):
            # So that the mail is at the proxy all the time, whenever this process is killed.
            spare = unnested(row, message_id=spare_id(message_id), tenant_id=tenant_id, deferred_ts=_NEVER)
            hold.renew()
            if not client.give_back(spare):
                raise ProxyUnavailable("the proxy did not take a spare copy of an email that it has lost")
            self._delete(client, tenant_id, [message_id], hold)
            self._add_lost(delivery, client, row, hold)
        # Else its loss is about to be reported, and is healed then.

    def _restore(self, delivery: Delivery, client: ProxyClient, hold: _Hold) -> None:
        """What to do about a mail that the proxy does not show."""
        message_id, tenant_id = delivery.message_id, delivery.tenant_id
        spare = client.row(spare_id(message_id), tenant_id) if tenant_id else None
        if spare is not None:
            self._add_lost(delivery, client, spare, hold)
        elif is_lost(delivery):
            if tenant_id and any(each.get("id") == message_id for each in client.messages(tenant_id)):
                # An error of its own looks the same as an id that it does not know.
                raise ProxyUnavailable("the proxy has an email in its list, and does not show it")
            self._end(delivery, "the proxy lost the email, and has nothing of it any more")

    def _add_lost(self, delivery: Delivery, client: ProxyClient, row: Mapping[str, Any], hold: _Hold) -> None:
        """Add a mail that has been deleted, and delete its copy; only the latter where it has been ended meanwhile."""
        if self._open(delivery.message_id) is not None and not self._add(delivery, client, row, hold):
            raise ProxyUnavailable("the proxy did not take an email again that it has lost")
        self._delete(client, delivery.tenant_id, [spare_id(delivery.message_id)], hold)

    def _add(self, delivery: Delivery, client: ProxyClient, row: Mapping[str, Any], hold: _Hold) -> bool:
        """Submit the mail of a row under its own id; whether the proxy took it."""
        tenant_id = str(delivery.tenant_id)
        due = math.ceil(self._next_try(delivery).timestamp())
        mail = unnested(row, message_id=delivery.message_id, tenant_id=tenant_id, deferred_ts=due)
        hold.renew()
        is_taken = client.give_back(mail)
        if is_taken:
            logger.info("message %s is healed: the proxy has it in order again", visible(delivery.message_id))
        return is_taken

    def _next_try(self, delivery: Delivery) -> datetime:
        deferred = refusals(delivery)
        if not deferred:
            return utcnow()
        return deferred[-1].at + timedelta(seconds=self._retry_seconds[len(deferred) - 1])

    def _forget_spare(self, delivery: Delivery, client: ProxyClient, hold: _Hold) -> None:
        """A run may have been killed before it deleted the copy."""
        if has_been_lost(delivery):
            self._delete(client, delivery.tenant_id, [spare_id(delivery.message_id)], hold)

    @staticmethod
    def _delete(client: ProxyClient, tenant_id: str | None, ids: Sequence[str], hold: _Hold) -> None:
        if tenant_id:
            hold.renew()
            client.delete_messages(tenant_id, ids)

    def _end(self, delivery: Delivery, reason: str) -> None:
        logger.error("message %s is given up: %s", visible(delivery.message_id), redact(reason))
        report = DeliveryReport(kind=Kind.ERROR, message_id=delivery.message_id, at=utcnow(), reason=reason)
        self._dispatcher.dispatch([report])

    def _open(self, message_id: str) -> Delivery | None:
        """The delivery, where there is still something to do for it."""
        delivery = self._store.get(message_id)
        return None if delivery is None or not delivery.is_known or delivery.is_ended else delivery


class _Hold:
    """One run has a mail to itself: two that delete and add it could send it twice."""

    def __init__(
        self, store: DeliveryStore, message_id: str, *, seconds: float, monotonic: Callable[[], float]
    ) -> None:
        self._store = store
        self._message_id = message_id
        self._seconds = seconds
        self._monotonic = monotonic
        self._holder = str(uuid4())
        self._held_until = math.inf

    def renew(self) -> None:
        """Hold it for one more call to the proxy. Raises `HealingElsewhere`."""
        now = self._monotonic()
        # Free again is not enough: whoever had it meanwhile may have changed what this run has read.
        is_ours = now < self._held_until
        if not is_ours or not self._store.take_lease(self._name, self._holder, seconds=self._seconds):
            raise HealingElsewhere(self._message_id, self._seconds)
        self._held_until = now + self._seconds

    def release(self) -> None:
        self._store.take_lease(self._name, self._holder, seconds=0)

    @property
    def _name(self) -> str:
        return healing_lease(self._message_id)


@shared_task(
    bind=True, base=ConfirmedTask, name=task_names.HEAL, ignore_result=True, typing=False, **DURABLE, **TIME_LIMITS
)
def heal_mail(self: Any, message_id: str) -> None:
    """Heal a mail that its proxy may have damaged; see `Healer`. Published when a report says so.

    A proxy, a store or a broker that is away is waited for. Any other trouble is tried again as often as a submission;
    then the mail ends as `error`.
    """
    # Nobody comes back then.
    is_once = self.request.called_directly or self.request.is_eager
    error: Exception
    try:
        healer_of(configured_runtime(self.app)).heal(message_id)
        return
    except HealingElsewhere as exc:
        raise (exc if is_once else retry_in(self, exc, math.ceil(exc.seconds))) from exc
    except SoftTimeLimitExceeded:
        error = ProxyUnavailable("healing took longer than the time limit of its task")
    except (MailProxyError, OperationalError) as exc:
        error = exc
    except Exception as exc:
        error = unforeseen(exc, [message_id])
    if is_once or lasts(error):
        raise retry_later(self, error)
    runtime = configured_runtime(self.app)
    if retries_left(self, runtime):
        raise retry_later(self, error)
    try:
        healer_of(runtime).give_up(message_id, redact(str(error)))
    except (StoreError, OperationalError) as exc:
        raise retry_later(self, exc) from exc


def healer_of(runtime: Runtime) -> Healer:
    """The app's healer in this process."""
    return runtime.part(_build)


def _build(runtime: Runtime) -> Healer:
    return Healer(store=runtime.store, client_for=runtime.client, dispatcher=dispatcher_of(runtime))
