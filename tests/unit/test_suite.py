"""`python -m tests`: no part's failure hides another's, nothing is skipped without a word, and Ctrl-C ends all."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.harness.suite.full import is_full
from tests.harness.suite.parts import PARTS, Part, chosen
from tests.harness.suite.run import run_all
from tests.harness.waiting import PATIENCE_SECONDS, wait_until

TESTS = {
    "passing": "def test_fine(): pass",
    "failing": """
import pytest

class TestIt:
    @pytest.mark.parametrize("number", [1, 2])
    def test_less(self, number):
        print("what it printed")
        assert number < 2

@pytest.fixture
def broken():
    raise RuntimeError("no server")

def test_with_it(broken): pass
""",
    "skipping": """
import pytest

@pytest.mark.parametrize("number", [1, 2])
def test_of_a_service(number):
    pytest.skip("RabbitMQ is not installed (apt-get install it)")
""",
    "unreadable": "import nothing_of_this_name",
    "exiting": "import os\n\ndef test_end(): os._exit(9)",
}


@pytest.fixture
def parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Part]:
    """A part for each of `TESTS`."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (tmp_path / "pytest.ini").touch()
    (tmp_path / "conftest.py").write_text(
        "def pytest_addoption(parser): parser.addoption('--full', action='store_true')"
    )
    parts = {}
    for name, text in TESTS.items():
        path = tmp_path / f"test_{name}.py"
        path.write_text(text)
        parts[name] = Part(name=name, folders=(str(path),), options=(f"--rootdir={tmp_path}",))
    return parts


def test_all_parts_run_and_all_failures_are_told(parts: dict[str, Part], capsys: pytest.CaptureFixture[str]) -> None:
    assert run_all([], list(parts.values())) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line.startswith("FAILED")] == [
        "FAILED failing: test_failing.py::TestIt::test_less[2]",
        "FAILED failing: test_failing.py::test_with_it",
        "FAILED unreadable: test_unreadable.py::test_unreadable",
        "FAILED exiting: pytest ended with exit code 9",
    ]
    assert "skipped: RabbitMQ (2 tests)" in lines
    assert lines[-1] == "2 passed, 4 failed, 2 skipped"
    text = "\n".join(lines)
    for shown in ("what it printed", "assert 2 < 2", "no server", "No module named 'nothing_of_this_name'"):
        assert shown in text


@pytest.mark.full
def test_a_filter_may_leave_a_part_without_tests(parts: dict[str, Part], capsys: pytest.CaptureFixture[str]) -> None:
    two = [parts["passing"], parts["skipping"]]
    assert run_all(["-k", "fine"], two) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "1 passed, 0 failed, 0 skipped"
    assert run_all(["-k", "nonsense"], two) == 5
    (Path(parts["passing"].folders[0])).write_text("")
    assert run_all(["--full"], two) == 1
    assert "FAILED passing: pytest ended with exit code 5" in capsys.readouterr().out


def test_paths_choose_the_parts_that_hold_them() -> None:
    def names(*arguments: str) -> list[str]:
        return [part.name for part, _ in chosen(PARTS, arguments)]

    assert names() == names("-k", "listener") == ["integration", "django", "units"]
    assert names("--full") == ["integration", "django", "units", "benchmarks", "chaos"]
    assert names("tests/unit/test_suite.py::test_x", "-x") == ["units"]
    assert names("tests/django/", "tests/contract") == ["django", "units"]
    ((_, arguments),) = chosen(PARTS, ["tests/unit", "-x"])
    assert (arguments[0], arguments[-1]) == ("tests/unit", "-x")
    assert "tests/contract" not in arguments


def test_every_folder_of_tests_is_in_one_part() -> None:
    held = [folder for part in PARTS for folder in part.folders]
    root = Path(__file__).parents[1]
    assert sorted(held) == sorted({f"tests/{path.relative_to(root).parts[0]}" for path in root.rglob("test_*.py")})


@pytest.mark.full
def test_ctrl_c_ends_all_parts_in_order(tmp_path: Path) -> None:
    test = tmp_path / "test_hanging.py"
    test.write_text(
        "import pathlib, time\n"
        "def test_hang(tmp_path_factory):\n"
        f"    folder = pathlib.Path({str(tmp_path)!r})\n"
        "    try:\n"
        "        (folder / 'begun').touch()\n"
        "        time.sleep(600)\n"
        "    finally:\n"
        "        (folder / 'ended').touch()\n"
    )
    script = (
        "import sys; from tests.harness.suite.parts import Part; from tests.harness.suite.run import main\n"
        f"sys.exit(main([], [Part(name='one', folders=({str(test)!r},), processes=2,"
        f" options=('--rootdir={tmp_path}', '-c', '{os.devnull}'))]))"
    )
    run = subprocess.Popen([sys.executable, "-c", script], env={**os.environ, "TMPDIR": str(tmp_path)})
    patience = threading.Timer(2 * PATIENCE_SECONDS, run.kill)
    patience.start()
    try:
        wait_until((tmp_path / "begun").exists, "the test")
        run.send_signal(signal.SIGINT)
        assert run.wait() == 130
    finally:
        patience.cancel()
    assert (tmp_path / "ended").exists()


@pytest.mark.full_with("amqp", "v1")
@pytest.mark.full_with("v2", "redis")
@pytest.mark.parametrize("api", ["v1", "v2"])
@pytest.mark.parametrize("broker", ["amqp", "redis"])
def test_full_with_leaves_out_the_variants_that_it_names(api: str, broker: str, request: pytest.FixtureRequest) -> None:
    assert is_full(request.node) is ((broker, api) in {("amqp", "v1"), ("redis", "v2")})


def test_a_test_that_is_not_marked_is_not_full(request: pytest.FixtureRequest) -> None:
    assert not is_full(request.node)
