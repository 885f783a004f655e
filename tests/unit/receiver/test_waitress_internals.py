"""Canaries: what `receiver/channel.py` and `receiver/server.py` use of waitress is still there (pyproject: < 4)."""

from __future__ import annotations

import inspect

import pytest
from waitress import wasyncore
from waitress.adjustments import Adjustments
from waitress.channel import HTTPChannel
from waitress.parser import HTTPRequestParser
from waitress.server import BaseWSGIServer, TcpWSGIServer
from waitress.task import ThreadedTaskDispatcher, WSGITask
from waitress.utilities import RequestEntityTooLarge


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


def test_waitress_still_puts_a_body_into_a_buffer_that_can_be_changed() -> None:
    for head in (b"Content-Length: 5", b"Transfer-Encoding: chunked"):
        parser = HTTPRequestParser(Adjustments())
        parser.received(b"POST /sync HTTP/1.1\r\n" + head + b"\r\n\r\n")
        assert parser.body_rcv.getbuf() is parser.body_rcv.buf
        assert parser.body_bytes_received == 0


def test_waitress_still_calls_a_body_too_large_by_this_name() -> None:
    parser = HTTPRequestParser(Adjustments(max_request_body_size=5))
    parser.received(b"POST /sync HTTP/1.1\r\nContent-Length: 6\r\n\r\n")
    assert isinstance(parser.error, RequestEntityTooLarge)
    assert parser.completed


def test_waitress_still_has_these_hooks_of_a_connection_and_of_accepting() -> None:
    assert {"handle_close", "del_channel", "readable", "writable"} <= set(vars(HTTPChannel))
    assert {"readable", "handle_accept", "fix_addr", "set_socket_options"} <= set(vars(BaseWSGIServer))
    assert "self.socket.accept()" in inspect.getsource(wasyncore.dispatcher.accept)


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
