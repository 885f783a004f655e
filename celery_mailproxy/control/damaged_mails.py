"""Cancelling beside healing: a mail that 0.7.0 damages may be in the hands of `tasks.healing` just now."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from uuid import uuid4

from ..deliveries.delivery import Delivery
from ..deliveries.losses import healing_lease, refusals
from ..deliveries.stores.base import DeliveryStore
from ..errors import ProxyRequestError, ProxyUnavailable
from ..proxy.client import ProxyClient
from ..proxy.nested_mail import spare_id

__all__ = ["delete_spares", "healing_held_off"]

#: Longer than the calls to the proxy take that a cancellation makes.
_SECONDS = 300.0


@contextmanager
def healing_held_off(store: DeliveryStore, mails: Sequence[Delivery]) -> Iterator[frozenset[str]]:
    """Keep these mails from being healed in this block; the answer is those that are being healed just now.

    Asks the store for those only that a server has deferred. Raises `StoreError`.
    """
    holder = str(uuid4())
    deferred = [each.message_id for each in mails if refusals(each)]
    held = [each for each in deferred if store.take_lease(healing_lease(each), holder, seconds=_SECONDS)]
    try:
        yield frozenset(deferred) - frozenset(held)
    finally:
        for message_id in held:
            store.take_lease(healing_lease(message_id), holder, seconds=0)


def delete_spares(client: ProxyClient, tenant_id: str, mails: Sequence[Delivery]) -> None:
    """Delete what was to keep these mails safe while they were healed. One that is left over is never sent."""
    if spares := [spare_id(each.message_id) for each in mails if refusals(each)]:
        with suppress(ProxyUnavailable, ProxyRequestError):
            client.delete_messages(tenant_id, spares)
