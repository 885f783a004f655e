"""The shop's own tasks. Those that a mail's outcome starts get the report, a dict, as their first argument."""

from __future__ import annotations

from typing import Any

from celery.utils.log import get_task_logger

from celery_mailproxy import send_via_proxy

from .celery import app

logger = get_task_logger(__name__)


def confirm_order(order: int, customer: str) -> str:
    """Send the confirmation of an order; what follows depends on what becomes of it. Returns the message id."""
    result = send_via_proxy.delay(
        to=[customer],
        subject=f"Your order {order}",
        body="Thank you! Your receipt is attached.",
        html_body="<p>Thank you! Your receipt is attached.</p>",
        attachments=[(f"order-{order}.txt", f"Order {order}: paid\n")],
        on_sent=ship.s(order),
        on_error=call_customer.s(order),
    )
    return str(result.id)


@app.task
def ship(report: dict[str, Any], order: int) -> str:
    """Chained to the confirmation by `on_sent`."""
    logger.info("order %s is on its way: its confirmation was %s at %s", order, report["kind"], report["at"])
    return f"order {order} shipped"


@app.task
def call_customer(report: dict[str, Any], order: int) -> str:
    """Chained to the confirmation by `on_error`."""
    logger.info("order %s waits for a call: its confirmation ended as %s", order, report["kind"])
    return f"order {order} needs a call"
