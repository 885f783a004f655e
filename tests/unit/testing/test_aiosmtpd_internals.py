"""Canaries: what `MailSink` depends on in aiosmtpd, and aiosmtpd does not promise."""

from __future__ import annotations

import asyncio

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP


def test_aiosmtpd_still_makes_its_servers_in_the_controllers_factory() -> None:
    controller = Controller(object(), hostname="127.0.0.1", port=0)
    try:
        assert isinstance(controller.factory(), SMTP)
    finally:
        controller.loop.close()


def test_aiosmtpd_still_keeps_a_servers_connection_as_its_transport() -> None:
    loop = asyncio.new_event_loop()
    try:
        assert SMTP(object(), loop=loop).transport is None
    finally:
        loop.close()
