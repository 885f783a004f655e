"""`off_loop`: Django's ORM inside of `async def`, for code that is called as if there were none."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import TypeVar

from django.db import connections

__all__ = ["off_loop"]

T = TypeVar("T")


def off_loop(call: Callable[[], T]) -> T:
    """What the call returns or raises; in a thread of its own where an event loop runs in this one.

    The loop waits for it, as it does for Django's SMTP backend. A transaction cannot be open on the loop's thread, so
    none is missed in the other one.
    """
    # Who has allowed it may have a transaction open here.
    if "DJANGO_ALLOW_ASYNC_UNSAFE" in os.environ or not _is_in_loop():
        return call()
    with ThreadPoolExecutor(max_workers=1) as pool:
        return pool.submit(copy_context().run, _in_thread, call).result()


def _is_in_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _in_thread(call: Callable[[], T]) -> T:
    try:
        return call()
    finally:
        # They are this thread's own, and nobody else would close them.
        connections.close_all()
