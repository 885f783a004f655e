"""The links to one proxy: its URL, API, token, tenant and account."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from ...conf.settings import ServerSettings
from ...errors import ProxyRequestError, ProxyUnavailable
from ...proxy.client import ProxyClient
from .links import Link, Outcome, failed, fine, guarded, skipped, warning

__all__ = ["ProxyProbe"]

_RELEASES = {
    "commands-0.5": "genro-mail-proxy 0.5.0",
    "commands-0.6": "genro-mail-proxy 0.5.8 to 0.6.10",
    "entities": "genro-mail-proxy 0.7.0",
    "v1": "genro-mail-proxy, the line in development",
}

#: A tenant id to ask for where none is configured: a token is looked at before the tenant.
_NO_TENANT = "-"


class ProxyProbe:
    """Asks one proxy, on behalf of one tenant. `tenant` is what it knows of the tenant, once `links` has run.

    `heals` says whether workers heal emails that it damages, `connect` gives a client of the proxy. Use it as a context
    manager: leaving it closes its connections.
    """

    def __init__(
        self,
        server: ServerSettings,
        *,
        heals: bool = True,
        connect: Callable[[ServerSettings], ProxyClient] = ProxyClient,
    ) -> None:
        self.server = server
        self.client = connect(server)
        self._connect = connect
        self._heals = heals
        self.tenant: Mapping[str, Any] | None = None

    def __enter__(self) -> ProxyProbe:
        return self

    def __exit__(self, *error: object) -> None:
        self.client.close()

    def links(self) -> Iterator[Link]:
        """One link after the other. What can only fail again because of one that failed is skipped."""
        for name, check in (("proxy", self._health), ("API", self._api), ("token", self._token)):
            link = guarded(name, check)
            yield link
            if link.outcome is Outcome.FAILED:
                for later in _AFTER[name]:
                    yield skipped(later, f"needs the {name}")
                return
        yield guarded("sending", self._sending)
        yield guarded("tenant", self._tenant)
        yield guarded("account", self._account)

    def _health(self) -> Link:
        try:
            self.client.health()
        except (ProxyUnavailable, ProxyRequestError) as exc:
            if exc.status is None or exc.status >= 500:
                return failed("proxy", exc.problem, "Start the proxy, or correct mail_proxy_url.")
            return failed("proxy", exc.problem, "Correct mail_proxy_url: something else answers there.")
        return fine("proxy", f"{self.server.url} answers")

    def _api(self) -> Link:
        configured = self.server.api
        probe = self._connect(replace(self.server, api="auto"))
        try:
            spoken, base_path, loses = probe.api.name, probe.base_path, probe.api.nests_deferred
        except ProxyUnavailable as exc:
            if configured in ("auto", "commands", "v1"):
                return failed("API", exc.problem, exc.remedy or "Set mail_proxy_api.")
            return warning(
                "API", f"{configured}, as set; the proxy does not say", "No action is needed if emails are accepted."
            )
        finally:
            probe.close()
        is_commands = configured == "commands" and spoken != "entities"
        if configured not in ("auto", spoken) and not is_commands:
            return failed(
                "API",
                f"the proxy speaks {spoken} ({_RELEASES[spoken]}), and mail_proxy_api is {configured!r}",
                "Set mail_proxy_api to 'auto'.",
            )
        place = f" at {base_path}" if base_path else ""
        found = f"{spoken}{place} ({_RELEASES[spoken]})"
        if loses and not self._heals:
            remedy = "Set mail_proxy_heal to True, or use another release of the proxy."
            return warning("API", f"{found}; it loses emails that it defers", remedy)
        return fine("API", f"{found}; it loses emails that it defers, and workers heal them" if loses else found)

    def _token(self) -> Link:
        try:
            self.client.accounts(self.server.tenant or _NO_TENANT)
        except ProxyUnavailable as exc:
            if exc.status in (401, 403):
                what = "is wrong" if self.server.token else "is missing"
                remedy = "Set mail_proxy_token to the proxy's API token (its GMP_API_TOKEN), or to the tenant's own."
                return failed("token", f"the token {what}: the proxy answered {exc.status}", remedy)
            raise
        if not self.server.token:
            remedy = "Give the proxy an API token (GMP_API_TOKEN) and set mail_proxy_token to it."
            return warning("token", "not set, and the proxy requires none: anyone can send through it", remedy)
        return fine("token", "accepted")

    def _sending(self) -> Link:
        try:
            is_active = self.client.is_active()
        except (ProxyUnavailable, ProxyRequestError) as exc:
            if exc.status is None or exc.status >= 500:
                raise
            # For an administrator's token only, or not in this release.
            is_active = None
        if is_active is None:
            return skipped("sending", "the proxy does not say whether it is active")
        if not is_active:
            remedy = "Activate it, or start it with start_active=True; on 0.7.0: POST /instance/activate."
            return failed("sending", "the proxy accepts emails but is not active: it sends none", remedy)
        return fine("sending", "the proxy is active")

    def _tenant(self) -> Link:
        if self.server.tenant is None:
            remedy = "Set mail_proxy_tenant. Every release but 0.5.0 refuses an email without a tenant."
            return warning("tenant", "mail_proxy_tenant is not set: each email must name one", remedy)
        name = self.server.tenant
        remedy = (
            "Create it on the proxy (`celery mailproxy setup`, in Django `manage.py mailproxy_setup`), or correct "
            "mail_proxy_tenant. Ids are case-sensitive."
        )
        try:
            self.tenant = self.client.tenant(name)
        except (ProxyRequestError, ProxyUnavailable) as exc:
            # 0.7.0 answers 500 for a tenant it does not know.
            if exc.status in (404, 500):
                return failed("tenant", f"the proxy knows no tenant {name!r}", remedy)
            raise
        if not self.tenant.get("active", True):
            return failed("tenant", f"{name} is not active", "Activate it on the proxy: its emails are not sent.")
        if suspended := self.tenant.get("suspended_batches"):
            what = "it" if suspended == "*" else f"batch {suspended}"
            return failed("tenant", f"{name}: sending of {what} is suspended", "Activate the tenant's batches again.")
        return fine("tenant", f"{name}, active")

    def _account(self) -> Link:
        if self.server.tenant is None:
            return skipped("account", "the proxy lists accounts by tenant: set mail_proxy_tenant")
        if self.tenant is None:
            return skipped("account", "needs the tenant")
        wanted = self.server.account
        accounts = {str(each.get("id")): each for each in self._accounts(self.server.tenant)}
        listed = ", ".join(sorted(accounts)) or "no account"
        if wanted is None:
            remedy = "Set mail_proxy_account to one of them." if accounts else "Add an SMTP account to the tenant."
            return warning("account", f"mail_proxy_account is not set; the tenant has {listed}", remedy)
        if wanted not in accounts:
            remedy = (
                "Set mail_proxy_account to one that it has, or add the account on the proxy: `celery mailproxy setup`, "
                "in Django `manage.py mailproxy_setup`."
            )
            return failed("account", f"no account {wanted!r}: the tenant has {listed}", remedy)
        account = accounts[wanted]
        tls = ", TLS" if account.get("use_tls") else ""
        return fine("account", f"{wanted}: {account.get('host')}:{account.get('port')}{tls}")

    def _accounts(self, tenant_id: str) -> list[dict[str, Any]]:
        try:
            return self.client.accounts(tenant_id)
        except ProxyUnavailable as exc:
            if exc.status is not None:
                raise
        # After a 500 the proxy silently closes the connection, and the next request on it fails.
        return self.client.accounts(tenant_id)


#: What there is no use in testing once a link has failed.
_AFTER: Mapping[str, tuple[str, ...]] = {
    "proxy": ("API", "token", "tenant", "account"),
    "API": ("token", "tenant", "account"),
    "token": ("tenant", "account"),
}
