"""Which of its APIs a proxy speaks, and where: found out without a side effect.

`POST {"messages": []}` to a submission path answers 200, 401, 403 or 422 where the path is known, and 404 where not, on
every release. What then differs among the commands APIs is read. Whoever cannot tell raises, and the mails wait.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from ..conf.settings import ServerSettings
from ..errors import ProxyUnavailable
from .answers import COME_AGAIN, Answer, problem_of
from .api import Call, ProxyAPI
from .commands import Commands05API, Commands06API, CommandsAPI
from .entities import EntitiesAPI
from .v1 import V1API

__all__ = ["Found", "detect", "fixed"]

_COMMANDS_05, _COMMANDS_06, _ENTITIES, _V1 = Commands05API(), Commands06API(), EntitiesAPI(), V1API()

#: What the setting fixes; "auto", "commands" (of whichever release) and "v1" (at which path) have to be found out.
_FIXED: Mapping[str, ProxyAPI] = {api.name: api for api in (_COMMANDS_05, _COMMANDS_06, _ENTITIES)}

#: The answers of a server that knows the path, and of one that does not: nginx, for one, answers 405.
_KNOWN = frozenset({200, 401, 403, 422})
_UNKNOWN = frozenset({404, 405})

#: A path that only releases from 0.5.8 on have, in an OpenAPI document.
_SINCE_058 = "/tenant/{tenant_id}/api-key"

#: A path that no release has.
_NOWHERE = "/commands/none"

_Send = Callable[[Call], Answer]


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What was found: the dialect, and what goes before its paths, beside the URL of the settings."""

    api: ProxyAPI
    base_path: str = ""


def fixed(server: ServerSettings) -> Found | None:
    """What the settings say; None where the proxy has to be asked."""
    api = _FIXED.get(server.api)
    if api is not None:
        return Found(api=api)
    return Found(api=_V1) if server.api == "v1" and server.url.endswith(_V1.base_path) else None


def detect(server: ServerSettings, send: _Send) -> Found:
    """Ask the proxy, at the URL of the settings and below it. Raises `ProxyUnavailable` where it does not say."""
    return _Detection(server, send).run()


class _Detection:
    def __init__(self, server: ServerSettings, send: _Send) -> None:
        self._server = server
        self._send = send

    def run(self) -> Found:
        is_any = self._server.api == "auto"
        knows_commands = self._knows(_COMMANDS_06)
        # Who answers 401 to everything is a gateway, or knows both: neither says which it is.
        is_sure = knows_commands is not None and knows_commands.status == 200
        if is_any and not is_sure and self._knows(_ENTITIES):
            if knows_commands:
                raise self._untold(knows_commands, "it answers alike at the paths of different releases")
            return Found(api=_ENTITIES)
        if knows_commands:
            return Found(api=_V1 if self._server.api == "v1" else self._release(knows_commands))
        if not self._server.url.endswith(_V1.base_path) and self._knows(_V1, _V1.base_path):
            return Found(api=_V1, base_path=_V1.base_path)
        raise self._unknown()

    def _knows(self, api: ProxyAPI, base_path: str = "") -> Answer | None:
        """The answer of a server that knows the API's submission path; None where it does not."""
        call = replace(api.submit([]), path=base_path + api.submit_path)
        answer = self._send(call)
        if answer.status in _UNKNOWN:
            return None
        if answer.status not in _KNOWN or (answer.status == 200 and not _is_success(answer.body)):
            raise self._untold(answer)
        return answer

    def _release(self, submission: Answer) -> CommandsAPI:
        """Which of the commands APIs it is, after its answer to an empty submission."""
        document = self._send(Call(method="GET", path="/openapi.json"))
        paths = document.body.get("paths") if document.status == 200 and isinstance(document.body, Mapping) else None
        if isinstance(paths, Mapping) and _COMMANDS_06.submit_path in paths:
            return _COMMANDS_06 if _SINCE_058 in paths else _COMMANDS_05
        if (spoken := _server_of(document)) is _V1:
            return spoken
        # It hides the document.
        status = self._send(Call(method="GET", path="/status"))
        if status.status != 200 or not isinstance(status.body, Mapping):
            raise self._untold(submission if submission.status in (401, 403) else status)
        if "active" not in status.body:
            return _COMMANDS_05
        nowhere = self._send(Call(method="GET", path=_NOWHERE))
        spoken = _server_of(nowhere)
        if spoken is None:
            raise self._untold(nowhere, "it does not say which release of the commands API it has")
        return spoken

    def _untold(self, answer: Answer, why: str | None = None) -> ProxyUnavailable:
        """The error of an answer that does not tell. With a remedy where it is not one that passes."""
        problem = problem_of(answer, "a submission of nothing, which identifies its API", self._server.url)
        text = problem.problem if why is None else f"{problem.problem}: {why}"
        status = answer.status
        passes = status >= 500 or status in COME_AGAIN
        remedy = problem.remedy if isinstance(problem, ProxyUnavailable) else None
        if not passes:
            # Mostly it is the URL that is wrong: an API that is set by hand would only hide that.
            first = remedy or f"Check mail_proxy_url: is {self._server.url} a genro-mail-proxy?"
            remedy = f"{first} Set mail_proxy_api only where the proxy is right and cannot be asked."
        retry_after = problem.retry_after_seconds if isinstance(problem, ProxyUnavailable) else None
        return ProxyUnavailable(
            text, status=status, retry_after_seconds=retry_after, maybe_accepted=False, remedy=remedy
        )

    def _unknown(self) -> ProxyUnavailable:
        paths = [_COMMANDS_06.submit_path, _V1.base_path + _V1.submit_path]
        if self._server.api == "auto":
            paths.insert(1, _ENTITIES.submit_path)
        return ProxyUnavailable(
            f"the server at {self._server.url} is not a genro-mail-proxy that we know: it has none of "
            f"{', '.join(paths)}",
            status=404,
            maybe_accepted=False,
            remedy="Check mail_proxy_url, or set mail_proxy_api.",
        )


def _is_success(body: Any) -> bool:
    return isinstance(body, Mapping) and body.get("ok") is True


def _server_of(answer: Answer) -> CommandsAPI | None:
    """Which server answers so where it knows no path: FastAPI with a `detail`, genro-asgi with an `error`."""
    if answer.status != 404 or not isinstance(answer.body, Mapping):
        return None
    if "detail" in answer.body:
        return _COMMANDS_06
    return _V1 if "error" in answer.body else None
