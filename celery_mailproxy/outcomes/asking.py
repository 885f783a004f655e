"""`Asker`: asks the proxies what became of messages."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from ..deliveries.delivery import Delivery, by_place
from ..errors import ConfigurationError, ProxyRequestError, ProxyUnavailable
from ..proxy.client import ProxyClient
from ..proxy.held import HeldMessage, HeldState

__all__ = ["Asked", "Asker"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a proxy says of a message: `held` is what it has of it.

    `problem` says why it cannot be asked, or does not answer; `is_hopeless` where no later try will tell either.
    """

    delivery: Delivery
    held: HeldMessage | None = None
    problem: str | None = None
    is_hopeless: bool = False

    @property
    def is_absent(self) -> bool:
        """Whether the proxy certainly does not have it."""
        return self.held is None and self.problem is None

    @property
    def is_pending(self) -> bool:
        """Whether the proxy has it, and has yet to send it."""
        return self.held is not None and self.held.state is HeldState.PENDING


class Asker:
    """Asks the proxies, each for the messages of one tenant at a time.

    `client_for` gives the `ProxyClient` of a server's name, or raises `ConfigurationError`.
    """

    def __init__(self, client_for: Callable[[str], ProxyClient]) -> None:
        self._client_for = client_for

    def ask(self, deliveries: Sequence[Delivery], *, are_pending: bool = False) -> list[Asked]:
        """What is said of each, in no particular order. `are_pending` as in `ProxyQueries.look_up`. Never raises."""
        return [asked for place, few in by_place(deliveries) for asked in self._ask_one(place, few, are_pending)]

    def _ask_one(
        self, place: tuple[str, str | None], deliveries: Sequence[Delivery], are_pending: bool
    ) -> Iterator[Asked]:
        server, tenant_id = place
        if tenant_id is None:
            problem = "no tenant is known of it: set mail_proxy_tenant"
            yield from (Asked(delivery=each, problem=problem, is_hopeless=True) for each in deliveries)
            return
        try:
            ids = [each.message_id for each in deliveries]
            found, unsaid = self._client_for(server).look_up(tenant_id, ids, are_pending=are_pending)
        except (ProxyUnavailable, ProxyRequestError, ConfigurationError) as exc:
            yield from (Asked(delivery=each, problem=str(exc)) for each in deliveries)
            return
        for each in deliveries:
            error = unsaid.get(each.message_id)
            held = found.get(each.message_id) if error is None else None
            yield Asked(delivery=each, held=held, problem=None if error is None else str(error))
