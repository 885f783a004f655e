"""Mails with a message for each recipient, as several files send them."""

from __future__ import annotations

from typing import Any

from ...harness.mail_stack import MODULE, MailStack

__all__ = ["address", "callbacks", "deliver", "mail"]


def address(name: str) -> str:
    return f"{name}@example.com"


def mail(*names: str, **arguments: Any) -> dict[str, Any]:
    """The arguments of a task that sends it."""
    return {"to": [address(name) for name in names], "subject": "S", "body": "B", "per_recipient": True, **arguments}


def deliver(stack: MailStack, *names: str, **arguments: Any) -> Any:
    """The signature of `deliver_via_proxy` for it."""
    return stack.app.tasks["celery_mailproxy.deliver_via_proxy"].s(**mail(*names, **arguments))


def callbacks(stack: MailStack) -> dict[str, Any]:
    """`told` shows them as `noted:sent` and `noted:error`."""
    return {f"on_{tag}": stack.app.signature(f"{MODULE}.noted", kwargs={"tag": tag}) for tag in ("sent", "error")}
