"""`ProxyClient`: submits messages to one proxy over a pooled HTTP client."""

from __future__ import annotations

import email.utils
import ssl
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import httpx

from ..conf.settings import ServerSettings
from ..errors import ProxyRequestError, ProxyUnavailable
from .api import Call, ProxyAPI, SubmitAnswer
from .attachment_credentials import address_attachments
from .commands import CommandsAPI
from .entities import EntitiesAPI

__all__ = ["ProxyClient"]

_APIS: Mapping[str, ProxyAPI] = {api.name: api for api in (CommandsAPI(), EntitiesAPI())}

#: Statuses by which the proxy may mean one message of many: a 422 or a 500 is for the whole batch, whoever caused it.
_MAY_BE_ONE_MESSAGE = frozenset({400, 413, 422, 500})

#: Answers after which the next try may succeed (RFC 9110; 425: RFC 8470; 429: RFC 6585).
_PASSING = frozenset({408, 425, 429})

#: A longer `Retry-After` is cut: Redis gives a waiting task to another worker after an hour (visibility_timeout).
MAX_RETRY_AFTER_SECONDS = 3000.0

#: How long a tenant that was asked for is remembered, with its credentials.
_TENANT_SECONDS = 60.0

_REMEDIES: Mapping[int, str] = {
    401: "Set mail_proxy_token to the proxy's API token, or to a tenant's.",
    403: "The token may not act for this tenant: set mail_proxy_tenant to its own, or use the admin token.",
    404: "Check mail_proxy_url and mail_proxy_api: this server does not know the path.",
}


class ProxyClient:
    """Talks to one proxy. Safe to share between threads and greenlets; not across a fork (see `runtime`).

    Raises `ProxyUnavailable` where the same call may succeed later (no connection, a time-out, 408, 425, 429, 5xx),
    `ProxyRequestError` where it will not.
    """

    def __init__(self, server: ServerSettings, *, transport: httpx.BaseTransport | None = None) -> None:
        self.server = server
        self._api = _APIS.get(server.api)
        self._detecting = threading.Lock()
        self._tenants: dict[str, tuple[float, dict[str, Any]]] = {}
        headers = {"X-API-Token": server.token} if server.token else {}
        self._http = httpx.Client(
            base_url=server.url,
            headers=headers,
            timeout=httpx.Timeout(server.timeout_seconds, connect=min(5.0, server.timeout_seconds)),
            verify=ssl.create_default_context(cafile=server.ca_file) if server.ca_file else True,
            transport=transport,
        )

    @property
    def api(self) -> ProxyAPI:
        """The dialect this proxy speaks; asked of it once where `mail_proxy_api` is "auto"."""
        with self._detecting:
            if self._api is None:
                self._api = self._detect()
            return self._api

    def submit(self, messages: Sequence[Mapping[str, Any]]) -> SubmitAnswer:
        """Submit messages as `payload.encode` gives them, in one call.

        Where the proxy refuses the whole call for what may be one message's fault, the halves are submitted apart, so
        that no message takes its neighbours down. Raises only where every message meets the same fate.
        """
        try:
            return self._submit_once(messages)
        except (ProxyRequestError, ProxyUnavailable) as exc:
            if len(messages) < 2 or exc.status not in _MAY_BE_ONE_MESSAGE:
                raise
        middle = len(messages) // 2
        first = self._submit_part(messages[:middle])
        if len(first.unsettled) == middle:
            # No message's fault, it seems: a proxy that fails is not asked about every message alone.
            return first + self._submit_whole(messages[middle:])
        return first + self._submit_part(messages[middle:])

    def _submit_part(self, messages: Sequence[Mapping[str, Any]]) -> SubmitAnswer:
        return self._caught(self.submit, messages)

    def _submit_whole(self, messages: Sequence[Mapping[str, Any]]) -> SubmitAnswer:
        return self._caught(self._submit_once, messages)

    @staticmethod
    def _caught(
        submit: Callable[[Sequence[Mapping[str, Any]]], SubmitAnswer], messages: Sequence[Mapping[str, Any]]
    ) -> SubmitAnswer:
        ids = [message["id"] for message in messages]
        try:
            return submit(messages)
        except ProxyRequestError as exc:
            return SubmitAnswer(rejected=dict.fromkeys(ids, str(exc)))
        except ProxyUnavailable as exc:
            # The proxy has had the whole call before, and answered with an error: what it did with it is unknown.
            exc.maybe_accepted = True
            return SubmitAnswer(unsettled=dict.fromkeys(ids, exc))

    def _submit_once(self, messages: Sequence[Mapping[str, Any]]) -> SubmitAnswer:
        ids = [message["id"] for message in messages]
        response = self._send(self._submission(messages))
        if response.status_code == 404 and self.server.api == "auto":
            # The proxy was exchanged for one of the other dialect since we asked.
            self._forget_api()
            response = self._send(self._submission(messages))
        answer = self.api.read_submission(ids, response.status_code, _json(response))
        if answer is None:
            raise self._problem(response, "the submission")
        return answer

    def _submission(self, messages: Sequence[Mapping[str, Any]]) -> Call:
        if self.api.forgets_tenants:
            messages = address_attachments(messages, self._recent_tenant)
        return self.api.submit(messages)

    def _recent_tenant(self, tenant_id: str) -> dict[str, Any] | None:
        """What the proxy knew of a tenant a moment ago; None where it knows none."""
        asked_at, tenant = self._tenants.get(tenant_id, (0.0, {}))
        if tenant and time.monotonic() - asked_at < _TENANT_SECONDS:
            return tenant
        response = self._send(self.api.get_tenant(tenant_id))
        found = dict(_json(response) or {}) if response.status_code == 200 else self.find_tenant(tenant_id)
        if found is not None:
            self._tenants[tenant_id] = (time.monotonic(), found)
        return found

    def health(self) -> None:
        """Reach the proxy: `GET /health`, which needs no token."""
        self._ask(Call(method="GET", path="/health"))

    def holds(self, message_id: str, tenant_id: str | None) -> bool:
        """Whether the proxy says that it has a message; False also where it need not be asked (see `get_message`)."""
        call = self.api.get_message(tenant_id, message_id) if tenant_id else None
        # An unknown id is a 500 there.
        return call is not None and self._send(call).status_code == 200

    def messages(self, tenant_id: str) -> list[dict[str, Any]]:
        """The messages of a tenant that the proxy holds."""
        return self.api.read_messages(self._ask(self.api.list_messages(tenant_id)))

    def delete_messages(self, tenant_id: str, ids: Sequence[str]) -> Any:
        """Take messages out of the proxy's queue; its answer says how many."""
        return self._ask(self.api.delete_messages(tenant_id, ids))

    def tenant(self, tenant_id: str) -> dict[str, Any]:
        """What the proxy knows of a tenant."""
        return dict(self._ask(self.api.get_tenant(tenant_id)))

    def tenants(self) -> list[dict[str, Any]]:
        """What the proxy knows of each tenant that the token may see."""
        return self.api.read_tenants(self._ask(self.api.list_tenants()))

    def find_tenant(self, tenant_id: str) -> dict[str, Any] | None:
        """What the proxy knows of a tenant, its credential included, or None; for a token that may see them all."""
        # By the list: the entities API answers 500 for one that it does not know.
        return next((tenant for tenant in self.tenants() if tenant.get("id") == tenant_id), None)

    def accounts(self, tenant_id: str | None) -> list[dict[str, Any]]:
        """The SMTP accounts of a tenant."""
        return self.api.read_accounts(self._ask(self.api.list_accounts(tenant_id)))

    def is_active(self) -> bool | None:
        """Whether the proxy sends what it has taken; None on the commands API, which does not say."""
        call = self.api.activity()
        return None if call is None else bool(self._ask(call).get("active"))

    def run_now(self, tenant_id: str) -> None:
        """Wake the proxy's send and report loops."""
        self._ask(self.api.run_now(tenant_id))

    def close(self) -> None:
        """Close the pooled connections."""
        self._http.close()

    def _ask(self, call: Call) -> Any:
        response = self._send(call)
        if response.status_code != 200:
            raise self._problem(response, f"{call.method} {call.path}")
        return _json(response)

    def _send(self, call: Call) -> httpx.Response:
        try:
            return self._http.request(call.method, call.path, params=dict(call.params) or None, json=call.json)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as exc:
            # After a time-out nothing is taken for sure: a slow network is no refusal.
            is_refused = isinstance(exc, httpx.ConnectError)
            raise ProxyUnavailable(
                f"no connection to the proxy at {self.server.url}: {exc or type(exc).__name__}",
                maybe_accepted=not is_refused,
            ) from exc
        except httpx.TransportError as exc:
            # The request may have been read: only the same message id makes it safe to submit again.
            raise ProxyUnavailable(
                f"no answer from the proxy at {self.server.url}: {type(exc).__name__} {exc}".rstrip()
            ) from exc

    def _problem(self, response: httpx.Response, what: str) -> ProxyRequestError | ProxyUnavailable:
        status = response.status_code
        said = f"the proxy at {self.server.url} answered {status} to {what}"
        if status in _PASSING or status >= 500:
            return ProxyUnavailable(said, status=status, retry_after_seconds=_retry_after_seconds(response))
        # The proxy's 422 quotes the input, which holds the mail: only its field names are passed on.
        detail = _field_names(response) if status == 422 else ""
        return ProxyRequestError(" ".join(filter(None, [said + ".", detail, _REMEDIES.get(status)])), status)

    def _detect(self) -> ProxyAPI:
        response = self._send(Call(method="GET", path="/openapi.json"))
        if response.status_code != 200:
            raise self._problem(response, "GET /openapi.json, which identifies the API. Set mail_proxy_api")
        paths = (_json(response) or {}).get("paths", {})
        for api in _APIS.values():
            if api.submit_path in paths:
                return api
        raise ProxyRequestError(
            f"the server at {self.server.url} is not a genro-mail-proxy that we know: its OpenAPI document has neither "
            f"{' nor '.join(api.submit_path for api in _APIS.values())}. Check mail_proxy_url.",
            response.status_code,
        )

    def _forget_api(self) -> None:
        with self._detecting:
            self._api = None


def _json(response: httpx.Response) -> Any:
    try:
        return response.json()
    except ValueError:
        return None


def _field_names(response: httpx.Response) -> str:
    body = _json(response)
    detail = body.get("detail") if isinstance(body, Mapping) else None
    if not isinstance(detail, list):
        return ""
    problems = [
        f"{'.'.join(str(part) for part in entry.get('loc', ()))}: {entry.get('type', 'invalid')}"
        for entry in detail
        if isinstance(entry, Mapping)
    ]
    return f"It says of the fields: {'; '.join(problems[:5])}." if problems else ""


def _retry_after_seconds(response: httpx.Response) -> float | None:
    """`Retry-After` in seconds from now: it is a number of seconds or an HTTP date (RFC 9110, 10.2.3)."""
    value = response.headers.get("retry-after", "").strip()
    if not value:
        return None
    try:
        if value.isascii() and value.isdecimal():
            return min(float(value), MAX_RETRY_AFTER_SECONDS)
        wait = email.utils.parsedate_to_datetime(value).timestamp() - time.time()
        return min(max(0.0, wait), MAX_RETRY_AFTER_SECONDS)
    except (TypeError, ValueError, OverflowError):
        return None
