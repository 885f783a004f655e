"""The SMTP server of both sides, which can be made to refuse, or to hold what is coming."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from typing import Any

from celery_mailproxy.testing import MailSink

__all__ = ["ShopSink"]


class ShopSink(MailSink):
    """A `MailSink` with a mood."""

    def __init__(self) -> None:
        super().__init__(refuse=self._refuse)
        self.refuses = False
        self.holds = False
        #: After so many mails it holds what is coming, too.
        self.limit: int | None = None
        self.refused: Counter[str] = Counter()
        self.refused_at = 0.0

    def _refuse(self, recipient: str) -> str | None:
        if not self.refuses:
            return None
        self.refused[recipient] += 1
        self.refused_at = time.monotonic()
        return "451 4.3.0 try later"

    async def handle_RCPT(self, server: Any, session: Any, envelope: Any, address: str, options: list[str]) -> str:
        # Set and cleared by another thread: an asyncio.Event is not made for that.
        while self.holds or (self.limit is not None and len(self.arrived) >= self.limit):  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        return await super().handle_RCPT(server, session, envelope, address, options)

    @property
    def arrived(self) -> Counter[str]:
        """How often a mail has come to each recipient."""
        return Counter(recipient for mail in self.mails for recipient in mail.rcpt_to)
