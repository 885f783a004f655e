"""`Answer`: what came back from a call, and which trouble it is where it is not the proxy's answer.

Only a 413, and the proxy's own 400 and 422, say something of what was submitted. All else is trouble: it passes, or
somebody has to fix it; `docs/explanation/guarantees.md` has the table.
"""

from __future__ import annotations

import email.utils
import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from ..errors import ProxyRequestError, ProxyUnavailable, redact
from .literals import read_literal

__all__ = ["COME_AGAIN", "MAX_RETRY_AFTER_SECONDS", "Answer", "TooLong", "concerns_all", "not_the_proxys", "problem_of"]

#: Answers below 500 that ask to come again (RFC 9110; 425: RFC 8470; 429: RFC 6585).
COME_AGAIN = frozenset({408, 425, 429})

#: A longer `Retry-After` is cut: Redis gives a waiting task to another worker after an hour (visibility_timeout).
MAX_RETRY_AFTER_SECONDS = 3000.0

_WRONG_PLACE = "Check mail_proxy_url and mail_proxy_api: this server does not know the call."

_REMEDIES: Mapping[int, str] = {
    401: "Set mail_proxy_token to the proxy's API token, or to a tenant's.",
    403: "The token may not act for this tenant: set mail_proxy_tenant to its own, or use the admin token.",
    404: _WRONG_PLACE,
    405: _WRONG_PLACE,
    407: "A gateway on the way wants a login: check mail_proxy_url, and with mail_proxy_trust_env the environment.",
    421: "Check mail_proxy_url: the server there answers for other hosts.",
}

_WORD = re.compile(r"[\w.-]{1,64}", re.ASCII)

#: What pydantic's text says of one field: its path, and the type of the problem.
_FIELD_PROBLEM = re.compile(r"^(messages(?:\.\w{1,64}){1,6})[^\n]*\n[^\n]*?\[type=(\w{1,64}),", re.ASCII | re.MULTILINE)

#: As much of a text is searched.
_MAX_TEXT = 64 * 1024

#: As much of a reason is passed on.
_MAX_REASON = 200

_REDIRECTED = "Set mail_proxy_url to the final address: redirects are not followed, since the token would go along."


class TooLong(ProxyUnavailable):
    """The answer is longer than what is read of one."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """An HTTP answer. `oddity` says why its body was not read; `content` is empty then.

    `is_too_long` where the reason is its length.
    """

    status: int
    content: bytes = b""
    oddity: str | None = None
    is_too_long: bool = False
    retry_after: str = ""
    date: str = ""

    @property
    def sent_at(self) -> float | None:
        """When the server answered, by its own clock, in unix seconds (RFC 9110, 6.6.1); None where it does not say."""
        try:
            return email.utils.parsedate_to_datetime(self.date).timestamp()
        except (TypeError, ValueError, OverflowError):
            return None

    @cached_property
    def body(self) -> Any:
        """The JSON in it; None where it is none, or nested deeper than the parser goes."""
        try:
            return json.loads(self.content)
        except (ValueError, RecursionError):
            return None

    @property
    def is_refusal(self) -> bool:
        """Whether the server refuses what was in the call.

        A body that is too large is anybody's to refuse; the rest is only where it looks like the proxy's.
        """
        if self.status == 413:
            return True
        has_reason = isinstance(self.body, Mapping) and ("detail" in self.body or "error" in self.body)
        return self.status in (400, 422) and has_reason

    @property
    def retry_after_seconds(self) -> float | None:
        """`Retry-After` in seconds from now: it is a number of seconds or an HTTP date (RFC 9110, 10.2.3)."""
        value = self.retry_after.strip()
        if not value:
            return None
        try:
            if value.isascii() and value.isdecimal():
                return min(float(value), MAX_RETRY_AFTER_SECONDS)
            wait = email.utils.parsedate_to_datetime(value).timestamp() - time.time()
            return min(max(0.0, wait), MAX_RETRY_AFTER_SECONDS)
        except (TypeError, ValueError, OverflowError):
            return None


def problem_of(answer: Answer, what: str, url: str) -> ProxyRequestError | ProxyUnavailable:
    """The error that an answer stands for which is not the one that was asked for. `what` was asked, of `url`."""
    status = answer.status
    said = f"the proxy at {url} answered {status} to {what}"
    if answer.is_refusal:
        # The proxy's 422 quotes the input, which holds the mail: only its field names are passed on.
        detail = _field_names(answer.body) if status == 422 else _reason(answer.body)
        return ProxyRequestError(f"{said}. {detail}".rstrip(), status)
    if 200 <= status < 300:
        return not_the_proxys(answer, what, url)
    remedy = _REDIRECTED if 300 <= status < 400 else _REMEDIES.get(status)
    return ProxyUnavailable(
        said,
        status=status,
        retry_after_seconds=answer.retry_after_seconds,
        maybe_accepted=status >= 500,
        remedy=remedy,
    )


def concerns_all(problem: ProxyUnavailable) -> bool:
    """Whether the next call would meet the same: no connection, a wrong token, a server in trouble."""
    if problem.status is None or problem.remedy is not None:
        return True
    return problem.status >= 500 or problem.status in COME_AGAIN


def not_the_proxys(answer: Answer, what: str, url: str) -> ProxyUnavailable:
    """The error of an answer that reads like success, and is not genro-mail-proxy's."""
    how = f"it is {answer.oddity}" if answer.oddity else "something else may answer there"
    said = f"the proxy at {url} answered {answer.status} to {what}, but not as genro-mail-proxy does: {how}"
    kind = TooLong if answer.is_too_long else ProxyUnavailable
    return kind(said, status=answer.status, retry_after_seconds=answer.retry_after_seconds)


def _field_names(body: Any) -> str:
    """What a 422 says of the fields, without the values: FastAPI's list, or on v1 pydantic's text."""
    detail = body.get("detail") if isinstance(body, Mapping) else None
    entries = [entry for entry in detail if isinstance(entry, Mapping)] if isinstance(detail, list) else []
    problems = [f"{_location(entry.get('loc'))}: {_word(entry.get('type'), 'invalid')}" for entry in entries[:5]]
    text = body.get("error") if isinstance(body, Mapping) else None
    if isinstance(text, str):
        # Each problem is a line with the field, then one that ends in `[type=…, input_value=…]`: quoted, so one line.
        found = _FIELD_PROBLEM.findall(text[:_MAX_TEXT])
        problems += [f"{field}: {_word(kind, 'invalid')}" for field, kind in found[:5]]
    return f"It says of the fields: {'; '.join(problems)}." if problems else ""


def _reason(body: Any) -> str:
    """What a 400 says: `{"detail": {"error": …}}` or `{"detail": …}`, on v1 `{"error": "{'error': …}"}`."""
    if not isinstance(body, Mapping):
        return ""
    detail = body.get("detail") if "detail" in body else read_literal(body.get("error")) or body.get("error")
    # Of a command beside a submission it says so without more.
    reason = detail.get("error") if isinstance(detail, Mapping) else detail
    return f"It says: {redact(reason[:_MAX_REASON])}" if isinstance(reason, str) else ""


def _location(value: Any) -> str:
    parts = value if isinstance(value, list) else []
    return ".".join(_word(part, "?") for part in parts) or "?"


def _word(value: Any, otherwise: str) -> str:
    """The value where it is one word: whoever else answered may have put anything in its place."""
    text = str(value) if isinstance(value, int | str) else ""
    return text if _WORD.fullmatch(text) else otherwise
