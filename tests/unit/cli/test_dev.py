"""`celery mailproxy dev`: what keeps it from starting. That it runs is shown with the quick start."""

from __future__ import annotations

import socket

import pytest

from tests.unit.cli.shop import Run


@pytest.mark.parametrize("option", ["--port", "--smtp-port"])
def test_a_port_that_is_taken_is_named_with_its_option(run: Run, option: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        result = run("dev", "--port", "0", "--smtp-port", "0", option, str(port))
    assert result.exit_code == 1
    assert f"{option} must be a free port, got {port}: " in result.stderr


def test_a_port_that_is_none_is_an_error(run: Run) -> None:
    result = run("dev", "--port", "70000")
    assert result.exit_code == 1
    assert "--port must be a free port, got 70000: " in result.stderr
