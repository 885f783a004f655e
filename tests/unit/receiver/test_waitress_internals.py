"""Canaries: what `receiver/channel.py` and `receiver/server.py` use of waitress is still there (pyproject: < 4)."""

from __future__ import annotations

import inspect

import pytest
from waitress import wasyncore
from waitress.adjustments import Adjustments
from waitress.channel import HTTPChannel
from waitress.parser import HTTPRequestParser
from waitress.server import TcpWSGIServer
from waitress.task import ThreadedTaskDispatcher, WSGITask


def test_waitress_still_takes_our_classes() -> None:
    assert TcpWSGIServer.channel_class is HTTPChannel
    assert HTTPChannel.parser_class is HTTPRequestParser
    assert HTTPChannel.task_class is WSGITask


def test_waitress_still_parses_into_these_attributes() -> None:
    parser = HTTPRequestParser(Adjustments())
    parser.received(b"POST /sync HTTP/1.1\r\nContent-Length: 5\r\n\r\n")
    parser.received(b"ab")
    assert parser.headers_finished
    assert not parser.completed
    assert (parser.content_length, len(parser.body_rcv), parser.command, parser.path) == (5, 2, "POST", "/sync")
    assert {"error", "expect_continue", "headers"} <= set(dir(parser))


@pytest.mark.parametrize("name", ["will_close", "requests", "request", "total_outbufs_len"])
def test_waitress_still_keeps_a_channels_state_under_this_name(name: str) -> None:
    assert f"self.{name}" in inspect.getsource(HTTPChannel) or hasattr(HTTPChannel, name)


def test_waitress_still_serves_one_socket_with_a_map_and_tasks_of_ours() -> None:
    assert {"map", "_sock", "dispatcher", "adj", "sockinfo", "bind_socket"} <= set(
        inspect.signature(TcpWSGIServer.__init__).parameters
    )
    assert {"timeout", "use_poll", "map", "count"} <= set(inspect.signature(wasyncore.loop).parameters)
    assert ThreadedTaskDispatcher().threads == set()
    assert "get_environment" in vars(WSGITask)
