"""`celery -A proj mailproxy check`: tests each link of the chain."""

from __future__ import annotations

from .check import command

__all__ = ["command"]
