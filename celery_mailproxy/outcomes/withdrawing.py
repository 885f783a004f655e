"""`Withdrawer`: takes mails out of a proxy's queue that must not be sent any more."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from ..deliveries.delivery import Delivery, by_place
from ..errors import ConfigurationError, ProxyRequestError, ProxyUnavailable, redact
from ..proxy.client import ProxyClient
from .asking import Asked, Asker

__all__ = ["Withdrawer"]

logger = logging.getLogger(__name__)

#: How long before its next try a mail is left alone, beside the time that a call may take: clocks differ.
_MARGIN = timedelta(seconds=15)


class Withdrawer:
    """Deletes mails at the proxies. `client_for` gives the `ProxyClient` of a server's name."""

    def __init__(self, *, asker: Asker, client_for: Callable[[str], ProxyClient]) -> None:
        self._asker = asker
        self._client_for = client_for

    def withdraw(self, asked: Sequence[Asked], *, now: datetime) -> list[Delivery]:
        """Those that the proxy has certainly not sent, and has not any more.

        Only a mail with its next try ahead can be deleted so: the proxy may be sending any other at this moment, and
        then its end would be lost with its row. Never raises for a proxy's sake.
        """
        gone: list[Delivery] = []
        held = {each.delivery.message_id: each.held for each in asked}
        for (server, tenant_id), deliveries in by_place([each.delivery for each in asked]):
            idle: list[Delivery] = []
            try:
                client = self._client_for(server)
                waits_until = now + _MARGIN + timedelta(seconds=client.server.timeout_seconds)
                idle = [
                    each
                    for each in deliveries
                    if (found := held[each.message_id]) and found.next_try_at and found.next_try_at > waits_until
                ]
                if not idle or tenant_id is None:
                    continue
                client.delete_messages(tenant_id, [each.message_id for each in idle])
            except (ProxyUnavailable, ProxyRequestError, ConfigurationError) as exc:
                # It may have deleted them all the same: only its answer was lost.
                logger.warning("%d expired emails stay at the proxy for now: %s", len(deliveries), redact(str(exc)))
            gone += [each.delivery for each in self._asker.ask(idle) if each.is_absent]
        return gone
