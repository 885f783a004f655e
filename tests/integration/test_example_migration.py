"""The example that moves a project from django-celery-email to the proxy, run as its README says, with fewer mails."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from examples.migration.old_side import install_old_side

from ..conftest import required_under_ci
from ..harness.redis_services import redis_binary
from ..harness.services import RedisServer, ServiceMissing

pytestmark = [pytest.mark.integration, pytest.mark.long, pytest.mark.timeout(1800)]

ROOT = Path(__file__).parents[2]

_TIMEOUT_SECONDS = 1500


@pytest.fixture(scope="module")
def examples(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, redis_server: RedisServer
) -> Iterator[dict[str, Example | str]]:
    """Each release that is tested and whose Python is installed, all at once: most of the time they wait.

    Of another release, why it cannot be installed.
    """
    folder = tmp_path_factory.mktemp("examples")
    examples: dict[str, Example | str] = {}
    try:
        for release in _tested(request):
            try:
                install_old_side(release)
            except RuntimeError as exc:
                examples[release] = str(exc)
            else:
                examples[release] = Example(release, folder / release)
        yield examples
    finally:
        for example in examples.values():
            if isinstance(example, Example):
                example.end()


def _tested(request: pytest.FixtureRequest) -> list[str]:
    callspecs = [getattr(item, "callspec", None) for item in request.session.items if item.parent is request.node]
    return [callspec.params["release"] for callspec in callspecs if callspec is not None]


class Example:
    """A run of the script, with workers killed at each step."""

    def __init__(self, release: str, log_path: Path) -> None:
        environment = {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}
        # The script starts what it finds there, and tests do not need an installed one.
        environment["PATH"] = os.pathsep.join([str(Path(redis_binary()).parent), environment.get("PATH", os.defpath)])
        options = ["--mails", "40", "--kill", "--old", release]
        self._log_path = log_path
        with log_path.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "examples.migration", *options],
                cwd=ROOT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def result(self) -> tuple[int, str]:
        """Its exit code, and what it has printed."""
        code = self._process.wait(_TIMEOUT_SECONDS)
        return code, self._log_path.read_text(errors="replace")

    def end(self) -> None:
        """As Ctrl-C does, so that it takes its servers and workers with it."""
        if self._process.poll() is None:
            self._process.terminate()
            self._process.wait(60)


@pytest.mark.parametrize("release", ["3.0.0", pytest.param("reboot", marks=pytest.mark.full)])
def test_every_mail_arrives_once_whoever_is_killed(release: str, examples: dict[str, Example | str]) -> None:
    example = examples[release]
    with required_under_ci():
        if isinstance(example, str):
            raise ServiceMissing(example)
    code, output = example.result()
    assert code == 0, output
    assert "Every mail arrived once: 40" in output
    assert output.count("tasks in its hands, and another started") == 5
