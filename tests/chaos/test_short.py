"""A short run of the chaos suite with each broker and each of the proxy's APIs: what CI runs of it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import required_under_ci

from .configuration import API, Broker, Configuration
from .run import new_folder, run, temporary_place

pytestmark = [pytest.mark.integration, pytest.mark.full, pytest.mark.long(240)]


@pytest.fixture
def configuration(broker: Broker, api: API) -> Configuration:
    seed = int(os.environ.get("CHAOS_SEED") or 1)
    return Configuration(broker=broker, api=api, seed=seed, mails=150, seconds=35.0, gap_seconds=1.5)


@pytest.fixture
def folder(configuration: Configuration, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    place = temporary_place()
    monkeypatch.setenv("TMPDIR", place)
    monkeypatch.setattr("tempfile.tempdir", place)
    folder = new_folder(configuration)
    yield folder
    shutil.rmtree(folder)


@pytest.mark.parametrize(("broker", "api"), [("redis", "entities"), ("rabbitmq", "commands")])
def test_no_promise_is_broken_while_everything_is_killed_cut_filled_and_slowed(
    configuration: Configuration, folder: Path
) -> None:
    with required_under_ci():
        outcome = run(configuration, folder)
    assert outcome.verdict.is_kept, outcome.report
