"""What stands before and behind the mails."""

from __future__ import annotations

from collections import Counter
from typing import Any

from .celery import app


@app.task
def render(order: int) -> dict[str, str]:
    """The content of a mail, made by the task before it."""
    return {"subject": f"Your order {order}", "body": "Thank you!"}


@app.task
def ship(report: dict[str, Any], order: int) -> str:
    """Behind the mail in a chain: it runs when the mail has been sent."""
    return f"order {order} shipped: its confirmation was {report['kind']}"


@app.task
def summarise(results: list[dict[str, Any]]) -> dict[str, int]:
    """The body of a chord: it runs once, when the last mail has ended."""
    return dict(Counter(result["outcome"] for result in results))
