"""The SMTP server: notes each mail that it takes, at that moment."""

from __future__ import annotations

from typing import Any

from celery_mailproxy.testing import MailSink

from .ledger import Ledger
from .load import number_of

__all__ = ["NotingSink"]


class NotingSink(MailSink):
    def __init__(self, ledger: Ledger) -> None:
        super().__init__()
        self._ledger = ledger

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        answer = await super().handle_DATA(server, session, envelope)
        if answer.startswith("250"):
            for address in envelope.rcpt_tos:
                self._ledger.note("arrived", number=number_of(address))
        return answer
