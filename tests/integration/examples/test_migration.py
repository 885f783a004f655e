"""The example that moves a project from django-celery-email to the proxy, run as its README says, with fewer mails."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from examples.migration.old_side import install_old_side

from ...conftest import required_under_ci
from ...harness.program import Program
from ...harness.redis_services import redis_binary
from ...harness.services import RedisServer, ServiceMissing

pytestmark = [pytest.mark.integration, pytest.mark.long(240), pytest.mark.timeout(1800)]

_TIMEOUT_SECONDS = 1500


@pytest.fixture(scope="module")
def examples(request: pytest.FixtureRequest, redis_server: RedisServer) -> Iterator[dict[str, Program | str]]:
    """Each release that is tested and whose Python is installed, all at once: most of the time they wait.

    Of another release, why it cannot be installed.
    """
    examples: dict[str, Program | str] = {}
    with ExitStack() as stack:
        for release in _tested(request):
            try:
                install_old_side(release)
            except RuntimeError as exc:
                examples[release] = str(exc)
            else:
                examples[release] = stack.enter_context(run(release))
        yield examples


def _tested(request: pytest.FixtureRequest) -> list[str]:
    callspecs = [getattr(item, "callspec", None) for item in request.session.items if item.parent is request.node]
    return [callspec.params["release"] for callspec in callspecs if callspec is not None]


def run(release: str) -> Program:
    """A run of the script, with workers killed at each step."""
    environment = {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}
    # The script starts what it finds there, and tests do not need an installed one.
    environment["PATH"] = os.pathsep.join([str(Path(redis_binary()).parent), environment.get("PATH", os.defpath)])
    options = ["--mails", "40", "--kill", "--old", release]
    return Program(["examples.migration", *options], environment=environment)


@pytest.mark.parametrize("release", ["3.0.0", pytest.param("reboot", marks=pytest.mark.full)])
def test_every_mail_arrives_once_whoever_is_killed(release: str, examples: dict[str, Program | str]) -> None:
    example = examples[release]
    with required_under_ci():
        if isinstance(example, str):
            raise ServiceMissing(example)
    code, output = example.wait(_TIMEOUT_SECONDS), example.log
    assert code == 0, output
    assert "Every mail arrived once: 40" in output
    assert output.count("tasks in its hands, and another started") == 5
