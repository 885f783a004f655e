"""`pause`, `resume`, `run_now`: the proxy holds back what it has of a tenant or a batch, and goes on with it."""

from __future__ import annotations

from dataclasses import dataclass

from celery import Celery

from ..conf.settings import DEFAULT_SERVER
from ..errors import ConfigurationError, ProxyRequestError
from ..proxy.client import ProxyClient
from ..runtime import get_runtime

__all__ = ["Pause", "pause", "resume", "run_now"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """What of a tenant is paused at its proxy.

    `batch_code` is the batch that was paused or resumed, None for the whole tenant; `pending` how many of its emails
    the proxy has yet to send, None where they are too many to be counted. `paused` are the tenant's batches that are
    paused now, `"*"` where all of it is.
    """

    tenant_id: str
    batch_code: str | None
    paused: tuple[str, ...]
    pending: int | None

    @property
    def is_paused(self) -> bool:
        """Whether what was asked for is paused now, by itself or with the whole tenant."""
        return "*" in self.paused or (self.batch_code is not None and self.batch_code in self.paused)


def pause(
    *, batch_code: str | None = None, tenant: str | None = None, server: str = DEFAULT_SERVER, app: Celery | None = None
) -> Pause:
    """Let the proxy hold back a batch, or all of a tenant: `pause(batch_code="spring")`.

    Workers go on submitting; what they submit waits at the proxy. What the proxy has in its hands just now is still
    sent. By default the tenant is that of the settings. Raises `ProxyUnavailable`, `ConfigurationError` where no tenant
    is known, and `ProxyRequestError` where the proxy refuses: 0.5.0 cannot do it, and is not asked.
    """
    client, tenant_id = _asked(tenant, server, app)
    _check(client, batch_code)
    paused = client.suspend(tenant_id, batch_code)
    return _pause(client, tenant_id, batch_code, paused)


def resume(
    *, batch_code: str | None = None, tenant: str | None = None, server: str = DEFAULT_SERVER, app: Celery | None = None
) -> Pause:
    """Let the proxy go on with a batch, or with all of a tenant; the inverse of `pause`, with its errors.

    A batch cannot be resumed while the whole tenant is paused: the proxy refuses that.
    """
    client, tenant_id = _asked(tenant, server, app)
    _check(client, batch_code)
    paused = client.activate(tenant_id, batch_code)
    return _pause(client, tenant_id, batch_code, paused)


def run_now(*, tenant: str | None = None, server: str = DEFAULT_SERVER, app: Celery | None = None) -> None:
    """Let the proxy look for what is to be sent, and to be reported, at once. Raises as `pause` does.

    With an administrator's token, 0.6 and v1 do so for all tenants.
    """
    client, tenant_id = _asked(tenant, server, app)
    client.run_now(tenant_id)


def _asked(tenant: str | None, server: str, app: Celery | None) -> tuple[ProxyClient, str]:
    runtime = get_runtime(app)
    tenant_id = tenant or runtime.server(server).tenant
    if not tenant_id:
        raise ConfigurationError(
            "mail_proxy_tenant must be set, or a tenant named: the proxy asks whose emails to act on"
        )
    return runtime.client(server), tenant_id


def _check(client: ProxyClient, batch_code: str | None) -> None:
    if not client.api.can_suspend:
        raise ProxyRequestError(
            "genro-mail-proxy 0.5.0 cannot pause: it would stop the reports of all tenants, and go on sending"
        )
    if batch_code is not None and (not batch_code or "," in batch_code or batch_code == "*"):
        # The proxy keeps the codes as one text, with commas between them.
        raise ProxyRequestError(f"the batch_code must be a text without a comma, and not '*', got {batch_code!r}")


def _pause(client: ProxyClient, tenant_id: str, batch_code: str | None, paused: tuple[str, ...]) -> Pause:
    pending = client.count_pending(tenant_id, batch_code)
    return Pause(tenant_id=tenant_id, batch_code=batch_code, paused=paused, pending=pending)
