"""`.ci/audit.py`: what was not checked is said, and findings fail."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).parents[2] / ".ci/audit.py"


@pytest.fixture(scope="module")
def audit() -> Any:
    spec = importlib.util.spec_from_file_location("ci_audit", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules["ci_audit"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def answer(*dependencies: dict[str, Any]) -> str:
    return json.dumps({"dependencies": dependencies, "fixes": []})


def fine(name: str) -> dict[str, Any]:
    return {"name": name, "version": "1.0", "vulns": []}


def unknown(name: str) -> dict[str, Any]:
    return {"name": name, "skip_reason": f"Dependency not found on PyPI and could not be audited: {name} (1.0)"}


def result(audit: Any, capsys: pytest.CaptureFixture[str], stdout: str, stderr: str = "") -> tuple[bool, bool, str]:
    """Whether it fails, whether it fails where the check is required, and what is printed."""
    read = audit.read_audit(stdout, stderr)
    is_failed = audit.is_failure("newest", read, is_required=False)
    printed = capsys.readouterr().out
    return is_failed, audit.is_failure("newest", read, is_required=True), printed


def test_without_findings_it_says_how_many_were_checked(audit: Any, capsys: pytest.CaptureFixture[str]) -> None:
    editable = {"name": "celery-mailproxy", "skip_reason": "distribution marked as editable"}
    done = result(audit, capsys, answer(fine("celery"), fine("redis"), editable))
    assert done == (False, False, "audit: newest: no known vulnerability in 2 packages\n")


def test_a_finding_fails_and_is_named(audit: Any, capsys: pytest.CaptureFixture[str]) -> None:
    found = {"name": "idna", "version": "3.4", "vulns": [{"id": "CVE-2024-3651", "fix_versions": ["3.7"]}]}
    done = result(audit, capsys, answer(fine("celery"), found))
    assert done == (True, True, "audit: newest: idna 3.4: CVE-2024-3651, fixed in 3.7\n")


@pytest.mark.parametrize(
    "stderr",
    [
        "ERROR:pip_audit._cli:Could not connect to PyPI's vulnerability feed",
        "requests.exceptions.ConnectionError: Max retries exceeded with url: /pypi (Failed to resolve 'pypi.org')",
        "requests.exceptions.ReadTimeout: Read timed out.",
        "requests.exceptions.ProxyError: Unable to connect to proxy",
    ],
)
def test_a_service_that_cannot_be_reached_is_said_in_a_line(
    audit: Any, capsys: pytest.CaptureFixture[str], stderr: str
) -> None:
    is_failed, is_failed_if_required, printed = result(audit, capsys, "", f"Traceback\n{stderr}\n")
    assert (is_failed, is_failed_if_required) == (False, True)
    assert printed == f"audit: newest: NOT CHECKED: {stderr}\n"


def test_a_service_that_knows_no_package_has_checked_nothing(audit: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """As a mirror without the vulnerability feed answers: pip-audit itself ends with 0."""
    is_failed, is_failed_if_required, printed = result(audit, capsys, answer(unknown("celery"), unknown("redis")))
    assert (is_failed, is_failed_if_required) == (False, True)
    assert printed == "audit: newest: NOT CHECKED: the service does not know celery, redis\n"


def test_packages_that_the_service_does_not_know_are_named(audit: Any, capsys: pytest.CaptureFixture[str]) -> None:
    done = result(audit, capsys, answer(fine("celery"), unknown("ours")))
    assert done == (False, True, "audit: newest: only 1 packages checked: the service does not know ours\n")


@pytest.mark.parametrize("stderr", ["", "No module named pip_audit", "error: unrecognized arguments: --local"])
def test_any_other_failure_of_pip_audit_fails(audit: Any, capsys: pytest.CaptureFixture[str], stderr: str) -> None:
    is_failed, _, printed = result(audit, capsys, "", stderr)
    assert is_failed
    assert printed.startswith("audit: newest: pip-audit failed: ")


def test_every_ignored_vulnerability_has_its_reason(audit: Any) -> None:
    assert all(name and reason for name, reason in audit.IGNORED.items())


def test_ci_runs_the_audit() -> None:
    root = SCRIPT.parents[1]
    assert " audit " in next(
        line for line in (root / ".ci/run").read_text().splitlines() if line.startswith("for step in")
    )
    assert " audit " in next(line for line in (root / "Makefile").read_text().splitlines() if line.startswith("check:"))
