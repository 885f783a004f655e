"""`ProxyClient`: submits messages to one proxy over a pooled HTTP client."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import httpx

from ..conf.settings import ServerSettings
from ..errors import ProxyRequestError, ProxyUnavailable
from .answers import Answer, TooLong, concerns_all
from .api import SubmitAnswer
from .attachment_credentials import address_attachments, tenant_of
from .held import answer_of
from .queries import ProxyQueries

__all__ = ["ProxyClient"]

#: How long a tenant that was asked for is remembered, with its credentials.
_TENANT_SECONDS = 60.0


class ProxyClient(ProxyQueries):
    """Talks to one proxy. Safe to share between threads and greenlets; not across a fork (see `runtime`).

    Raises `ProxyRequestError` where the proxy refuses what is in a call, and `ProxyUnavailable` for all other trouble:
    the same call may succeed later, by itself or once somebody has done what its `remedy` says. Raises
    `ConfigurationError` at once where the settings make no HTTP client.
    """

    def __init__(self, server: ServerSettings, *, transport: httpx.BaseTransport | None = None) -> None:
        super().__init__(server, transport=transport)
        self._tenants: dict[str, tuple[float, dict[str, Any]]] = {}

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

    def submit_anew(self, messages: Sequence[Mapping[str, Any]]) -> SubmitAnswer:
        """`submit` messages whose ids the proxy has had an end for: it takes them once it has forgotten those.

        Whoever dies between the two has to ask for it again: the proxy has none of them then.
        """
        for tenant_id in sorted({str(message["tenant_id"]) for message in messages if message.get("tenant_id")}):
            self.delete_messages(tenant_id, [each["id"] for each in messages if each.get("tenant_id") == tenant_id])
        return self.submit(messages)

    def give_back(self, message: Mapping[str, Any]) -> bool:
        """Submit what the proxy itself has shown of a message, as it is; whether it took it.

        It does not where it has had an end for the id. Not by `submit`, for its attachments have their addresses.
        Raises `MessageRejected`, too.
        """
        ids = [message["id"]]
        answer = self._send(self.api.submit([message]))
        submitted = self.api.read_submission(ids, answer.status, answer.body)
        if submitted is None:
            raise self._problem(answer, "the submission")
        submitted.raise_for(message["id"])
        return not self.api.unsure(ids, answer.status, answer.body)

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
        if answer.status == 404 and self._dialect.forget():
            # The proxy was exchanged for one of another dialect since we asked.
            answer, ready, waiting = self._post(messages)
        api, ids = self.api, [message["id"] for message in ready]
        submitted = api.read_submission(ids, answer.status, answer.body)
        if submitted is None:
            raise self._problem(answer, "the submission")
        unsure = {*api.unsure(submitted.accepted, answer.status, answer.body)}
        submitted = self._settled(submitted, [message for message in ready if message["id"] in unsure])
        return submitted + SubmitAnswer(unsettled=waiting)

    def _settled(self, answer: SubmitAnswer, unsure: Sequence[Mapping[str, Any]]) -> SubmitAnswer:
        """The answer with the truth about messages that the proxy has had an end for: only its list tells which."""
        for tenant_id in sorted({str(message["tenant_id"]) for message in unsure if message.get("tenant_id")}):
            ids = [message["id"] for message in unsure if message.get("tenant_id") == tenant_id]
            try:
                found, unsaid = self.find_each(tenant_id, ids)
            except TooLong:
                # Its reports say what became of them.
                continue
            except ProxyUnavailable as exc:
                found, unsaid = {}, dict.fromkeys(ids, exc)
            for problem in unsaid.values():
                problem.maybe_accepted = True
            # One that it does not show either has been sent, as far as it says anything.
            settled = SubmitAnswer(unsettled=unsaid) + answer_of(found.values())
            ended = {*settled.unsettled, *settled.rejected}
            accepted = tuple(each for each in answer.accepted if each not in ended)
            answer = replace(answer, accepted=accepted) + replace(settled, accepted=())
        return answer

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
        return self._send(call), ready, waiting

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
        answer = self._send(call)
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


def _may_be_one_message(exc: ProxyRequestError | ProxyUnavailable) -> bool:
    """Whether one message of many may have caused it: a 422 or a 500 is for the whole batch, whoever did.

    So is what a filter before the proxy answers; but no wrong token or URL, and none that asks to come again.
    """
    if isinstance(exc, ProxyRequestError) or exc.status == 500:
        return True
    return exc.status is not None and exc.status >= 400 and not concerns_all(exc)
