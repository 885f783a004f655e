"""Look for weaknesses in the code, and for known ones in what it is built on: `make audit`.

bandit reads the package, with the options in pyproject.toml. pip-audit asks a service which of the installed packages,
and of the oldest ones that the package still allows, have known vulnerabilities. Without a network, or where the
service does not know a package, nothing is known of it: a line says so, and is no failure, unless AUDIT_REQUIRED is
set.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]

#: Vulnerability → why it is none for us.
IGNORED: Mapping[str, str] = {
    "CVE-2023-28858": "redis: in its asyncio client, which neither the store nor kombu uses",
    "CVE-2023-28859": "redis: the same",
}

#: It asks for each package apart, with a time-out for each.
PATIENCE_SECONDS = 120.0

#: How pip-audit says that it has not reached the service.
_UNREACHABLE = re.compile(
    r"could not connect|connection (?:error|refused|reset|aborted)|failed to establish|failed to resolve|timed out|"
    r"max retries exceeded|network is unreachable|proxyerror|not redirecting|service unavailable",
    re.IGNORECASE,
)


@dataclass(frozen=True, kw_only=True)
class Audit:
    """What came of one: `findings` and `problem` fail, what was `unchecked` only where that is asked for."""

    findings: Sequence[str] = ()
    unchecked: str = ""
    problem: str = ""
    checked: int = 0


def read_audit(stdout: str, stderr: str) -> Audit:
    """What pip-audit says, with `--format json`: its exit code is 0 where it could not check a single package."""
    try:
        dependencies: list[dict[str, Any]] = json.loads(stdout)["dependencies"]
    except (ValueError, KeyError, TypeError):
        last = (stderr.strip().splitlines() or ["it printed nothing"])[-1][:200]
        return Audit(unchecked=last) if _UNREACHABLE.search(stderr) else Audit(problem=last)
    audited = [each for each in dependencies if "skip_reason" not in each]
    # The package itself, where it is installed from here, is no dependency.
    skipped = [each["name"] for each in dependencies if "skip_reason" in each and "editable" not in each["skip_reason"]]
    findings = [
        f"{each['name']} {each['version']}: {found['id']}, fixed in {', '.join(found['fix_versions']) or 'no release'}"
        for each in audited
        for found in each["vulns"]
    ]
    unchecked = (
        f"the service does not know {', '.join(skipped[:5])}{' …' if len(skipped) > 5 else ''}" if skipped else ""
    )
    return Audit(findings=findings, unchecked=unchecked, checked=len(audited))


def is_failure(what: str, audit: Audit, *, is_required: bool) -> bool:
    """Say in a line or more what came of an audit; whether it is a failure."""
    for finding in audit.findings:
        print(f"audit: {what}: {finding}")
    if audit.problem:
        print(f"audit: {what}: pip-audit failed: {audit.problem}")
    if audit.unchecked:
        extent = f"only {audit.checked} packages checked" if audit.checked else "NOT CHECKED"
        print(f"audit: {what}: {extent}: {audit.unchecked}")
    if not audit.findings and not audit.problem and not audit.unchecked:
        print(f"audit: {what}: no known vulnerability in {audit.checked} packages")
    return bool(audit.findings or audit.problem or (is_required and audit.unchecked))


def run_pip_audit(*arguments: str) -> Audit:
    ignored = [part for each in IGNORED for part in ("--ignore-vuln", each)]
    command = [sys.executable, "-m", "pip_audit", "--format", "json", "--progress-spinner", "off", *ignored, *arguments]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=PATIENCE_SECONDS)
    except subprocess.TimeoutExpired:
        return Audit(unchecked=f"the service has not answered within {PATIENCE_SECONDS:g} s")
    return read_audit(done.stdout, done.stderr)


def main() -> int:
    is_required = bool(os.environ.get("AUDIT_REQUIRED"))
    bandit = [sys.executable, "-m", "bandit", "-q", "-c", "pyproject.toml", "-r", "celery_mailproxy"]
    done = subprocess.run(bandit, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    is_failed = done.returncode != 0
    # Else it holds nothing but how its own comments were read.
    print(f"{done.stdout}audit: bandit: see above" if is_failed else "audit: bandit: nothing found")
    # Everything that the extra `dev` brings along, and with it the newest of what the package needs.
    is_failed |= is_failure("newest", run_pip_audit("--local", "--skip-editable"), is_required=is_required)
    sys.path.insert(0, str(ROOT))
    from noxfile import OLDEST

    with tempfile.TemporaryDirectory() as folder:
        requirements = Path(folder, "oldest.txt")
        requirements.write_text("\n".join(OLDEST))
        oldest = run_pip_audit("--no-deps", "--disable-pip", "--requirement", str(requirements))
    is_failed |= is_failure("oldest", oldest, is_required=is_required)
    return int(is_failed)


if __name__ == "__main__":
    sys.exit(main())
