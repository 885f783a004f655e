"""`ProxyClient`: submits messages to one proxy over a pooled HTTP client."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import httpx

from ..conf.settings import ServerSettings
from ..errors import ProxyRequestError, ProxyUnavailable
from .answers import COME_AGAIN, Answer, concerns_all, not_the_proxys, problem_of
from .api import Call, ProxyAPI, SubmitAnswer, UnreadableAnswer, row
from .attachment_credentials import address_attachments, tenant_of
from .commands import CommandsAPI
from .connection import Connection
from .entities import EntitiesAPI

__all__ = ["ProxyClient"]

_APIS: Mapping[str, ProxyAPI] = {api.name: api for api in (CommandsAPI(), EntitiesAPI())}

#: How long a tenant that was asked for is remembered, with its credentials.
_TENANT_SECONDS = 60.0

_Read = TypeVar("_Read")


class ProxyClient:
    """Talks to one proxy. Safe to share between threads and greenlets; not across a fork (see `runtime`).

    Raises `ProxyRequestError` where the proxy refuses what is in a call, and `ProxyUnavailable` for all other trouble:
    the same call may succeed later, by itself or once somebody has done what its `remedy` says. Raises
    `ConfigurationError` at once where the settings make no HTTP client.
    """

    def __init__(self, server: ServerSettings, *, transport: httpx.BaseTransport | None = None) -> None:
        self.server = server
        self._api = _APIS.get(server.api)
        self._tenants: dict[str, tuple[float, dict[str, Any]]] = {}
        self._connection = Connection(server, transport=transport)

    @property
    def api(self) -> ProxyAPI:
        """The dialect this proxy speaks; asked of it once where `mail_proxy_api` is "auto"."""
        # Without a lock: nobody waits for another's call, and of two who ask at once both learn the same.
        api = self._api
        if api is None:
            api = self._api = self._detect()
        return api

    def submit(self, messages: Sequence[Mapping[str, Any]]) -> SubmitAnswer:
        """Submit messages as `payload.encode` gives them, in one call.

        Where the proxy refuses the whole call for what may be one message's fault, the halves are submitted apart, so
        that no message takes its neighbours down. Raises only where every message meets the same fate.
        """
        try:
            return self._submit_once(messages)
        except (ProxyRequestError, ProxyUnavailable) as exc:
            if len(messages) < 2 or not _may_be_one_message(exc):
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
        answer, ready, waiting = self._post(messages)
        if answer.status == 404 and self.server.api == "auto":
            # The proxy was exchanged for one of the other dialect since we asked.
            self._api = None
            answer, ready, waiting = self._post(messages)
        submitted = self.api.read_submission([message["id"] for message in ready], answer.status, answer.body)
        if submitted is None:
            raise self._problem(answer, "the submission")
        return submitted + SubmitAnswer(unsettled=waiting)

    def _post(
        self, messages: Sequence[Mapping[str, Any]]
    ) -> tuple[Answer, Sequence[Mapping[str, Any]], dict[str, ProxyUnavailable]]:
        """The answer to the submission of those that are ready for it, those, and why the others are not."""
        try:
            ready, waiting = self._addressed(messages)
            call = self.api.submit(ready)
        except ProxyUnavailable as exc:
            # What was asked for so far was no submission.
            exc.maybe_accepted = False
            raise
        return self._connection.send(call), ready, waiting

    def _addressed(
        self, messages: Sequence[Mapping[str, Any]]
    ) -> tuple[Sequence[Mapping[str, Any]], dict[str, ProxyUnavailable]]:
        """The messages with their attachments' addresses, and those of whose tenant the proxy says nothing."""
        if not self.api.forgets_tenants:
            return messages, {}
        ready: list[Mapping[str, Any]] = []
        waiting: dict[str, ProxyUnavailable] = {}
        unsaid: dict[str, ProxyUnavailable] = {}

        def find(tenant_id: str) -> dict[str, Any] | None:
            if tenant_id in unsaid:
                raise unsaid[tenant_id]
            try:
                return self._recent_tenant(tenant_id)
            except ProxyUnavailable as exc:
                exc.maybe_accepted = False
                unsaid[tenant_id] = exc
                raise

        for message in messages:
            try:
                ready += address_attachments([message], find)
            except ProxyUnavailable as exc:
                if exc.status is None:
                    # It cannot be reached: the next one would find the same.
                    raise
                waiting[message["id"]] = exc
        if not ready and waiting:
            raise next(iter(waiting.values()))
        return ready, waiting

    def _recent_tenant(self, tenant_id: str) -> dict[str, Any] | None:
        """What the proxy knew of a tenant a moment ago; None where it knows none."""
        asked_at, tenant = self._tenants.get(tenant_id, (0.0, {}))
        if tenant and time.monotonic() - asked_at < _TENANT_SECONDS:
            return tenant
        call = self.api.get_tenant(tenant_id)
        answer = self._connection.send(call)
        if answer.status == 200:
            found: dict[str, Any] | None = self._read(answer, call, tenant_of)
        else:
            try:
                found = self.find_tenant(tenant_id)
            except ProxyRequestError as exc:
                # What was refused is our question, and not the mail.
                raise ProxyUnavailable(exc.problem, status=exc.status) from exc
        if found is not None:
            self._tenants[tenant_id] = (time.monotonic(), found)
        return found

    def health(self) -> None:
        """Reach the proxy: `GET /health`, which needs no token."""
        self._ask(Call(method="GET", path="/health"), row)

    def holds(self, message_id: str, tenant_id: str | None) -> bool:
        """Whether the proxy says that it has a message; False also where it need not be asked (see `get_message`)."""
        call = self.api.get_message(tenant_id, message_id) if tenant_id else None
        if call is None:
            return False
        answer = self._connection.send(call)
        # An unknown id is a 500 there. Any other answer says nothing of the message, which may be there.
        if answer.status in (404, 500):
            return False
        try:
            return self._read(answer, call, row).get("id") == message_id
        except ProxyRequestError as exc:
            # What was refused is our question, and not the mail.
            raise ProxyUnavailable(exc.problem, status=exc.status) from exc

    def messages(self, tenant_id: str) -> list[dict[str, Any]]:
        """The messages of a tenant that the proxy holds."""
        return self._ask(self.api.list_messages(tenant_id), self.api.read_messages)

    def delete_messages(self, tenant_id: str, ids: Sequence[str]) -> Any:
        """Take messages out of the proxy's queue; its answer says how many."""
        return self._ask(self.api.delete_messages(tenant_id, ids))

    def tenant(self, tenant_id: str) -> dict[str, Any]:
        """What the proxy knows of a tenant."""
        return dict(self._ask(self.api.get_tenant(tenant_id), row))

    def tenants(self) -> list[dict[str, Any]]:
        """What the proxy knows of each tenant that the token may see."""
        return self._ask(self.api.list_tenants(), self.api.read_tenants)

    def find_tenant(self, tenant_id: str) -> dict[str, Any] | None:
        """What the proxy knows of a tenant, its credential included, or None; for a token that may see them all."""

        def read(body: Any) -> dict[str, Any] | None:
            listed = self.api.read_tenants(body)
            return next((tenant_of(each) for each in listed if each.get("id") == tenant_id), None)

        # By the list: the entities API answers 500 for one that it does not know.
        return self._ask(self.api.list_tenants(), read)

    def accounts(self, tenant_id: str | None) -> list[dict[str, Any]]:
        """The SMTP accounts of a tenant."""
        return self._ask(self.api.list_accounts(tenant_id), self.api.read_accounts)

    def is_active(self) -> bool | None:
        """Whether the proxy sends what it has taken; None on the commands API, which does not say."""
        call = self.api.activity()
        return None if call is None else bool(self._ask(call, row).get("active"))

    def run_now(self, tenant_id: str) -> None:
        """Wake the proxy's send and report loops."""
        self._ask(self.api.run_now(tenant_id))

    def close(self) -> None:
        """Close the pooled connections."""
        self._connection.close()

    def _ask(self, call: Call, read: Callable[[Any], _Read] = lambda body: body) -> _Read:
        """What `read` makes of the body of a 200."""
        return self._read(self._connection.send(call), call, read)

    def _read(self, answer: Answer, call: Call, read: Callable[[Any], _Read]) -> _Read:
        what = f"{call.method} {call.path}"
        if answer.status != 200:
            raise self._problem(answer, what)
        try:
            return read(answer.body)
        except UnreadableAnswer as exc:
            raise not_the_proxys(answer, what, self.server.url) from exc

    def _problem(self, answer: Answer, what: str) -> ProxyRequestError | ProxyUnavailable:
        return problem_of(answer, what, self.server.url)

    def _detect(self) -> ProxyAPI:
        call = Call(method="GET", path="/openapi.json")
        answer = self._connection.send(call)
        if answer.status != 200:
            problem = self._problem(answer, f"{call.method} {call.path}, which identifies the API")
            if not isinstance(problem, ProxyUnavailable):
                problem = ProxyUnavailable(problem.problem, status=problem.status)
            if answer.status < 500 and answer.status not in COME_AGAIN:
                hint = "If it hides that document, set mail_proxy_api."
                problem.remedy = hint if problem.remedy is None else f"{problem.remedy} {hint}"
            raise problem
        paths = answer.body.get("paths") if isinstance(answer.body, Mapping) else None
        for api in _APIS.values():
            if isinstance(paths, Mapping) and api.submit_path in paths:
                return api
        raise ProxyUnavailable(
            f"the server at {self.server.url} is not a genro-mail-proxy that we know: its OpenAPI document has neither "
            f"{' nor '.join(api.submit_path for api in _APIS.values())}",
            status=answer.status,
            maybe_accepted=False,
            remedy="Check mail_proxy_url, or set mail_proxy_api.",
        )


def _may_be_one_message(exc: ProxyRequestError | ProxyUnavailable) -> bool:
    """Whether one message of many may have caused it: a 422 or a 500 is for the whole batch, whoever did.

    So is what a filter before the proxy answers; but no wrong token or URL, and none that asks to come again.
    """
    if isinstance(exc, ProxyRequestError) or exc.status == 500:
        return True
    return exc.status is not None and exc.status >= 400 and not concerns_all(exc)
