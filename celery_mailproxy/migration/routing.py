"""`Router`: which transport a mail takes. The same mail, or recipient, takes the same one on every worker."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable, Mapping
from email.utils import getaddresses
from typing import Any, ClassVar, Literal

from celery import Celery

from ..conf import settings as conf
from ..conf.migration import share as read_share
from ..conf.settings import MigrationSettings
from ..deliveries.delivery import Delivery
from ..deliveries.stores.base import DeliveryStore
from ..errors import ConfigurationError, StoreError, redact
from ..mail.message import MailMessage
from ..runtime import Runtime, get_runtime
from ..tasks.sending.revoked import is_legacy

__all__ = ["LEGACY", "PROXY", "SHARE_VALUE", "Path", "Router", "get_router", "pinned_path"]

logger = logging.getLogger(__name__)

Path = Literal["proxy", "legacy"]

PROXY: Path = "proxy"
#: `DeliveryReport.via` of a mail sent through the legacy transport, and the server of one never meant for a proxy.
LEGACY: Path = conf.LEGACY

#: The name under which the store keeps the share that operators have set.
SHARE_VALUE = "migration.share"


class Router:
    """Divides mails by `mail_proxy_migration`.

    A key of the mail (`sticky`) is hashed to a number from 0 to 1; below the share the mail is sent through the proxy.
    So a raised share moves some mails to the proxy, and none away from it. A share that operators set
    (`celery mailproxy share`) holds for every worker within seconds.
    """

    #: How long a worker uses the share that it has read.
    share_seconds: ClassVar[float] = 5.0

    def __init__(
        self,
        settings: MigrationSettings,
        *,
        store: DeliveryStore,
        tenant_id: str | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.settings = settings
        self._store = store
        self._tenant_id = tenant_id
        self._clock = clock
        self._operators_share: float | None = None
        self._read_at: float | None = None

    def path_for(
        self, message: MailMessage | Mapping[str, Any], *, message_id: str | None = None, share: float | None = None
    ) -> Path:
        """ "proxy" or "legacy". `message` may also be the arguments of `send_via_proxy`; `message_id` is then theirs.

        `share` stands in for the setting's where operators have set none. Never raises.
        """
        chosen = self._by_route(message)
        if chosen is not None:
            return chosen
        return PROXY if position(self._key(message, message_id)) < self.share(share) else LEGACY

    def share(self, default: float | None = None) -> float:
        """The share that holds now: the operators', else `default`, else the setting's."""
        now = self._clock()
        if self._read_at is None or now - self._read_at >= self.share_seconds:
            self._read_at = now
            try:
                self._operators_share = self.operators_share()
            except StoreError as exc:
                logger.warning("cannot read the migration share; keeping the last known value: %s", exc)
        if self._operators_share is not None:
            return self._operators_share
        return self.settings.share if default is None else default

    def operators_share(self) -> float | None:
        """What operators have set, read from the store. Raises `StoreError`."""
        value = self._store.get_value(SHARE_VALUE)
        return None if value is None else float(value)

    def set_share(self, share: float | None) -> None:
        """Set the share for all workers; None: the setting's holds again.

        Raises `ConfigurationError` for what is no share, and `StoreError`.
        """
        self._store.set_value(SHARE_VALUE, None if share is None else repr(float(read_share("share", share))))
        self._read_at = None

    def _by_route(self, message: MailMessage | Mapping[str, Any]) -> Path | None:
        if self.settings.route is None:
            return None
        try:
            chosen = self.settings.route(message)
        except Exception as exc:
            problem = redact(f"{type(exc).__name__}: {exc}")
            logger.error("mail_proxy_migration['route'] raised; the share decides: %s", problem)
            return None
        if chosen is None:
            return None
        if not isinstance(chosen, str) or chosen not in (PROXY, LEGACY):
            logger.error(
                "mail_proxy_migration['route'] must return 'proxy', 'legacy' or None, got %s; the share decides",
                type(chosen).__name__,
            )
            return None
        return chosen

    def _key(self, message: MailMessage | Mapping[str, Any], message_id: str | None) -> str:
        sticky = self.settings.sticky
        if sticky == "recipient" and (address := _first_address(message)):
            return address
        if sticky == "tenant" and (tenant_id := _value(message, "tenant_id") or self._tenant_id):
            return str(tenant_id)
        return str(message_id or _value(message, "message_id") or "")


def position(key: str) -> float:
    """Where the key lies between 0 and 1, today and on every machine."""
    return int.from_bytes(hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()[:8], "big") / 2**64


def pinned_path(delivery: Delivery | None) -> Path | None:
    """The way that a mail has begun to go, whatever the share has become since; None where it has not begun."""
    if delivery is None or not delivery.is_known:
        return None
    return LEGACY if is_legacy(delivery) else PROXY


def _value(message: MailMessage | Mapping[str, Any], name: str) -> Any:
    return message.get(name) if isinstance(message, Mapping) else getattr(message, name)


def _first_address(message: MailMessage | Mapping[str, Any]) -> str:
    for name in ("to", "cc", "bcc"):
        values = _value(message, name) or ()
        listed = [values] if isinstance(values, str) else list(values)
        for _, address in getaddresses([str(each) for each in listed]):
            if address:
                return address.casefold()
    return ""


def get_router(app: Celery | None = None) -> Router:
    """The router of an app (by default the current one) in this process."""
    return get_runtime(app).part(_build)


def _build(runtime: Runtime) -> Router:
    settings = runtime.settings.migration or MigrationSettings()
    return Router(settings, store=runtime.store, tenant_id=_default_tenant(runtime))


def _default_tenant(runtime: Runtime) -> str | None:
    try:
        return runtime.settings.server().tenant
    except ConfigurationError:
        # While all mail goes through the legacy transport, no proxy is needed.
        return runtime.settings.tenant
