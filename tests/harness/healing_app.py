"""`mail_app` whose mails are healed without waiting for hours, and whose worker can be killed in the midst of that."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from celery_mailproxy.proxy.queries import ProxyQueries
from celery_mailproxy.runtime import Runtime
from celery_mailproxy.tasks import healing

from .mail_app import _hang_at, app

__all__ = ["app"]

_build = healing._build
_delete = ProxyQueries.delete_messages


def build_impatient(runtime: Runtime) -> healing.Healer:
    """A mail waits for a second after each deferral."""
    healer = _build(runtime)
    healer._retry_seconds = (1,) * len(healing.RETRY_SECONDS)
    return healer


def delete_and_hang(self: ProxyQueries, tenant_id: str, ids: Sequence[str]) -> Any:
    # Where the mail is gone, and has not been added again.
    answer = _delete(self, tenant_id, ids)
    _hang_at("deleted", ids[0])
    return answer


healing._build = build_impatient
ProxyQueries.delete_messages = delete_and_hang  # type: ignore[method-assign]
