"""Shadow: what the proxy would have made of a mail that went the legacy way. Nobody but operators hears of it."""

from __future__ import annotations

import logging
from datetime import datetime, timezone

from ..errors import MailProxyError, redact
from ..mime import encode
from ..runtime import Runtime
from ..submission import Outgoing

__all__ = ["shadow", "shadow_failed"]

logger = logging.getLogger(__name__)


def shadow(runtime: Runtime, outgoing: Outgoing) -> None:
    """Encode the mail for the proxy, and submit it for the sandbox tenant where one is named. Never raises.

    What would have failed is logged by id, counted (`shadow/failed`), and sent as the event `mail-shadow-failed`.
    """
    settings = runtime.settings.migration
    if settings is None or not settings.shadow:
        return
    message = outgoing.message
    try:
        payload = encode(message, now=datetime.now(timezone.utc))
        if settings.shadow_tenant is not None:
            client = runtime.client(message.server)
            # An id of its own: the mail itself may come to the proxy later, when the share is raised.
            own_id = f"shadow-{message.message_id}"[:255]
            copy = {**payload, "id": own_id, "tenant_id": settings.shadow_tenant}
            if message.account_id is None and client.server.account is not None:
                copy.setdefault("account_id", client.server.account)
            client.submit([copy]).raise_for(own_id)
    except Exception as exc:
        shadow_failed(runtime, message.message_id, exc)
        return
    runtime.tally.note("shadow/passed")


def shadow_failed(runtime: Runtime, message_id: str, error: Exception) -> None:
    """Tell of a mail that the proxy would not have sent, where shadow is on."""
    settings = runtime.settings.migration
    if settings is None or not settings.shadow:
        return
    problem = redact(str(error)) if isinstance(error, MailProxyError) else type(error).__name__
    redacted = getattr(error, "redacted", None)
    if redacted is not None:
        problem = str(redacted())
    logger.warning("shadow: message %s would have failed on its way to the proxy: %s", message_id, problem)
    runtime.tally.note("shadow/failed")
    runtime.emit("mail-shadow-failed", {"message_id": message_id, "problem": problem})
