"""The links back from the proxy: where a tenant's reports go, with which credential, and what answers there."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import httpx

from ...conf.settings import Settings
from ...deliveries.stores import hide_password
from .links import Link, failed, fine, guarded, skipped, warning

__all__ = ["CallbackProbe"]

#: The proxy's own default for `client_sync_path`.
_DEFAULT_SYNC_PATH = "/mail-proxy/sync"

#: An answer without news: what the proxy posts when it has nothing to report.
_EMPTY_REPORT: Mapping[str, Any] = {"delivery_report": []}

Tenant = Mapping[str, Any]


class CallbackProbe:
    """Checks how one tenant's reports come back. `url` overrides the proxy's: that may be valid only on its machine."""

    def __init__(
        self,
        settings: Settings,
        tenant: Tenant | None,
        tenant_id: str | None,
        *,
        url: str | None = None,
        timeout_seconds: float = 10.0,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._settings = settings
        self._tenant = tenant
        self._tokens = _tokens_for(settings, tenant_id)
        self._given_url = url
        self._timeout_seconds = timeout_seconds
        self._transport = transport

    def links(self) -> Iterator[Link]:
        if self._settings.reports == "poll" and self._given_url is None:
            # Where the proxy is asked, nothing has to come back.
            for name in ("callback URL", "callback token", "callback"):
                yield skipped(name, "not needed: mail_proxy_reports is 'poll'")
            return
        if self._tenant is None:
            yield skipped("callback URL", "needs the tenant")
            yield skipped("callback token", "needs the tenant")
        else:
            yield guarded("callback URL", self._url_link)
            yield guarded("callback token", self._token_link)
        yield guarded("callback", self._call)

    @property
    def secrets(self) -> set[str]:
        """What the proxy shows of the tenant's credential."""
        auth = (self._tenant or {}).get("client_auth") or {}
        return {str(auth[key]) for key in ("token", "password") if auth.get(key)}

    @property
    def _url(self) -> str | None:
        """Where the proxy posts: it joins the two so itself (`get_tenant_sync_url`)."""
        base = (self._tenant or {}).get("client_base_url")
        path = (self._tenant or {}).get("client_sync_path") or _DEFAULT_SYNC_PATH
        return f"{str(base).rstrip('/')}{path}" if base else None

    def _url_link(self) -> Link:
        if self._url is None:
            remedy = "Set the tenant's client_base_url on the proxy to the receiver's address, http://host:port"
            return failed("callback URL", "the tenant has no client_base_url: its reports go nowhere", remedy)
        shown = hide_password(self._url)
        wanted = self._settings.report_path
        # A receiver that is mounted somewhere has a prefix before its path.
        if not urlsplit(self._url).path.rstrip("/").endswith(wanted.rstrip("/")):
            remedy = f"Set the tenant's client_sync_path to {wanted}, or mail_proxy_report_path to the path in the URL."
            return warning("callback URL", f"{shown} does not end with mail_proxy_report_path ({wanted})", remedy)
        return fine("callback URL", shown)

    def _token_link(self) -> Link:
        name = "callback token"
        auth = (self._tenant or {}).get("client_auth") or {}
        method = str(auth.get("method") or "none")
        if not self._tokens:
            return skipped(name, f"the tenant's client_auth is {method}; no mail_proxy_sync_token to compare it with")
        remedy = f"Make the tenant's client_auth on the proxy {{'method': '{_scheme(method)}', …}} with the token in "
        remedy += "mail_proxy_sync_token."
        if method not in ("bearer", "basic"):
            return failed(name, f"the tenant's client_auth is {method}: the receiver answers 401", remedy)
        credential = _credential(method, auth)
        if credential is None:
            return skipped(name, f"{method}; the proxy does not show the secret")
        if credential not in self._tokens:
            return failed(name, f"{method}, and not the token in mail_proxy_sync_token", remedy)
        return fine(name, f"{method}, the same as mail_proxy_sync_token")

    def _call(self) -> Link:
        url = self._given_url or self._url
        if url is None:
            return skipped("callback", "no URL is known; name one with --callback-url")
        shown = hide_password(url)
        try:
            # As the proxy does, which asks no HTTP_PROXY either: the token is for the receiver alone.
            with httpx.Client(timeout=self._timeout_seconds, transport=self._transport, trust_env=False) as http:
                response = http.post(url, json=_EMPTY_REPORT, headers=self._headers())
        except httpx.TransportError as exc:
            return _no_answer(shown, exc)
        return _judge(shown, response)

    def _headers(self) -> dict[str, str]:
        if not self._tokens:
            return {}
        token = self._tokens[0]
        auth = (self._tenant or {}).get("client_auth") or {}
        if auth.get("method") == "basic":
            return {"Authorization": f"Basic {base64.b64encode(token.encode()).decode('ascii')}"}
        return {"Authorization": f"Bearer {token}"}


def _judge(url: str, response: httpx.Response) -> Link:
    status = response.status_code
    found = f"{url} answered {status}"
    if status == 200 and _is_receiver(response):
        return fine("callback", f"{url} accepts reports")
    if status < 300:
        remedy = "Point the URL to the receiver: the proxy forgets the reports that such an answer acknowledges."
        return failed("callback", f"{found}, but it is not the receiver", remedy)
    if status < 400:
        remedy = "Set the tenant's client_base_url to the final address: a redirect loses the report."
        return failed("callback", found, remedy)
    sync_path = "set the tenant's client_sync_path to the receiver's mail_proxy_report_path."
    remedies = {
        401: "The receiver has another mail_proxy_sync_token than this process: use the same settings in both.",
        403: "Something in front of the receiver refuses the call: allow the proxy's address.",
        404: f"Nothing is mounted at this path: {sync_path}",
        405: f"This path does not accept POST: {sync_path}",
        415: "Something in front of the receiver changes the content type.",
        502: "The reverse proxy does not reach the receiver: start it.",
        503: "The receiver cannot store reports: check its broker and store.",
    }
    return failed("callback", found, remedies.get(status, "Check the receiver's log."))


def _no_answer(url: str, exc: httpx.TransportError) -> Link:
    reason = str(exc) or type(exc).__name__
    if "Name or service not known" in reason or "getaddrinfo" in reason or "name resolution" in reason:
        return warning(
            "callback",
            f"{url}: the host is not known here, though it may be where the proxy runs",
            "Run the check there, or give the receiver's URL as seen from this machine with --callback-url",
        )
    if isinstance(exc, httpx.ConnectError):
        remedy = "Start the receiver (celery -A proj worker --mailproxy-listen HOST:PORT), or correct client_base_url."
        return failed("callback", f"{url}: no connection ({reason})", remedy)
    return failed("callback", f"{url}: no answer ({reason})", "Check whether the receiver is overloaded or firewalled.")


def _is_receiver(response: httpx.Response) -> bool:
    try:
        body = response.json()
    except ValueError:
        return False
    return isinstance(body, Mapping) and body.get("ok") is True


def _tokens_for(settings: Settings, tenant_id: str | None) -> Sequence[str]:
    """The sync tokens that are good for the tenant's reports; none where authentication is off."""
    if not isinstance(settings.sync_token, Mapping):
        return ()
    return (*settings.sync_token.get(tenant_id, ()), *(settings.sync_token.get(None, ()) if tenant_id else ()))


def _credential(method: str, auth: Mapping[str, Any]) -> str | None:
    """The credential as the receiver compares it; None where the proxy hides it."""
    secret = str(auth.get("token" if method == "bearer" else "password") or "")
    if not secret.strip("*•"):
        return None
    return secret if method == "bearer" else f"{auth.get('user', '')}:{secret}"


def _scheme(method: str) -> str:
    return method if method in ("bearer", "basic") else "bearer"
