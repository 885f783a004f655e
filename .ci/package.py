"""Build the distributions, check what is in them, and send one mail with the installed wheel: `make package`.

Then install what README.md says with each Celery that it names. Needs git, build and twine (the dev extra), Redis, and
the package index. Everything is built in a temporary folder, and every
process is ended. One line a step; where one fails, what failed and what to do, and exit code 1.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterable
from fnmatch import fnmatch
from pathlib import Path
from typing import TypeVar

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.harness.redis_services import RedisServer  # noqa: E402 - found by the line above

PACKAGE = "celery_mailproxy/"

#: What the wheel must have, whatever git tracks: without one of these something fails only where it is installed.
NEEDED_IN_WHEEL = (
    "celery_mailproxy/py.typed",
    "celery_mailproxy/__init__.pyi",
    "celery_mailproxy/django/templates/*.html",
    "celery_mailproxy/django/static/*.css",
    "celery_mailproxy/django/locale/*.mo",
    "celery_mailproxy/django/migrations/0*.py",
    "celery_mailproxy/django/drain/migrations/0*.py",
    "celery_mailproxy-*.dist-info/entry_points.txt",
    "celery_mailproxy-*.dist-info/licenses/LICENSE",
)

#: What `make test` starts from.
NEEDED_IN_SDIST = (
    "Makefile",
    "pyproject.toml",
    "noxfile.py",
    "README.md",
    "LICENSE",
    "celery_mailproxy/*.py",
    "docs/*.md",
    "examples/*.py",
    "tests/*.py",
)

Result = TypeVar("Result")


class Problem(Exception):
    """A step failed. `remedy` says what to do."""

    def __init__(self, what: str, remedy: str) -> None:
        super().__init__(what)
        self.remedy = remedy


def main() -> int:
    # Ended by SIGTERM, too, no process of ours may be left behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with tempfile.TemporaryDirectory(prefix="celery-mailproxy-package-") as name:
        folder = Path(name)
        try:
            wheel, sdist = step("wheel and sdist are built", lambda: build(folder / "dist"))
            step("twine finds nothing to object to", lambda: check_metadata(wheel, sdist))
            step("the wheel holds the package, and nothing else", lambda: check_wheel(wheel))
            step("the sdist holds every file of the repository", lambda: check_sdist(sdist))
            python = step("the wheel is installed in an environment of its own", lambda: install(wheel, folder))
            step("the installed wheel sends a mail, and learns of its delivery", lambda: send_a_mail(python, folder))
            with RedisServer() as redis:
                for celery in supported_celerys():
                    what = f"README's installation works with Celery {celery}"
                    step(what, lambda celery=celery: install_as_in_readme(wheel, celery, folder, redis.url))
        except Problem as problem:
            print(f"  {problem}\n  What to do: {problem.remedy}", flush=True)
            return 1
    return 0


def step(what: str, work: Callable[[], Result]) -> Result:
    began = time.monotonic()
    try:
        result = work()
    except Problem:
        print(f"FAILED  {what}", flush=True)
        raise
    print(f"ok      {what} ({time.monotonic() - began:.1f} s)", flush=True)
    return result


def build(dist: Path) -> tuple[Path, Path]:
    """The sdist, and the wheel that is built of it."""
    remedy = "Install the dev extra (make .venv/.dev), and see that the package index can be reached."
    run([sys.executable, "-m", "build", "--outdir", str(dist), str(ROOT)], remedy=remedy)
    return next(dist.glob("*.whl")), next(dist.glob("*.tar.gz"))


def check_metadata(wheel: Path, sdist: Path) -> None:
    remedy = "Correct README.md or [project] in pyproject.toml: PyPI would refuse or misshow them."
    run([sys.executable, "-m", "twine", "check", "--strict", str(wheel), str(sdist)], remedy=remedy)


def check_wheel(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        found = {name for name in archive.namelist() if not name.endswith("/")}
    check_needed(found, NEEDED_IN_WHEEL)
    metadata = {name for name in found if fnmatch(name, "celery_mailproxy-*.dist-info/*")}
    compare(found - metadata, {name for name in tracked() if name.startswith(PACKAGE)})


def check_sdist(sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        # Below one folder, named after the release.
        found = {member.name.split("/", 1)[1] for member in archive.getmembers() if member.isfile()}
    check_needed(found, NEEDED_IN_SDIST)
    compare(found - {"PKG-INFO"}, tracked())


def check_needed(found: set[str], patterns: Iterable[str]) -> None:
    if missing := [pattern for pattern in patterns if not any(fnmatch(name, pattern) for name in found)]:
        raise Problem(f"missing: {', '.join(missing)}", "Correct [tool.hatch.build.targets] in pyproject.toml.")


def compare(found: set[str], expected: set[str]) -> None:
    """What is in an archive must be what git tracks: no file forgotten, none that lay about."""
    if missing := expected - found:
        remedy = "Add them to [tool.hatch.build.targets] in pyproject.toml, or commit that they are gone."
        raise Problem(f"missing: {listed(missing)}", remedy)
    if extra := found - expected:
        remedy = "Remove them, add them to git, or exclude them in [tool.hatch.build.targets] in pyproject.toml."
        raise Problem(f"there, and not in git: {listed(extra)}", remedy)


def tracked() -> set[str]:
    listing = run(["git", "ls-files", "-z"], remedy="Run this in a git checkout: what git tracks is what is released.")
    return set(listing.split("\0")) - {""}


def listed(names: set[str]) -> str:
    shown = ", ".join(sorted(names)[:10])
    return f"{shown} and {len(names) - 10} more" if len(names) > 10 else shown


def install(wheel: Path, folder: Path) -> Path:
    """The Python of a fresh virtual environment with the wheel and its demo extra."""
    return install_in(folder / "venv", f"{wheel}[demo]")


def install_in(venv: Path, *requirements: str) -> Path:
    """The Python of a fresh virtual environment with these, which fit together."""
    remedy = "See which requirement in pyproject.toml cannot be met, and that the package index can be reached."
    run([sys.executable, "-m", "venv", str(venv)], remedy="Install Python's venv module.")
    python = venv / "bin" / "python"
    pip = [str(python), "-m", "pip", "--quiet", "--disable-pip-version-check"]
    run([*pip, "install", *requirements], remedy=remedy)
    run([*pip, "check"], remedy=remedy)
    return python


def supported_celerys() -> list[str]:
    """The releases that README.md names, as `5.3`."""
    row = re.search(r"^\| Celery \| ([^|]*)\|$", (ROOT / "README.md").read_text(), re.MULTILINE)
    if row is None:
        raise Problem("README.md has no row of Celery's releases", "Correct supported_celerys, or README.md.")
    return re.findall(r"\d+\.\d+", row[1])


def install_as_in_readme(wheel: Path, celery: str, folder: Path, redis_url: str) -> None:
    """As its user does who has this Celery; then a task goes through Redis and back."""
    extras = re.search(r'pip install "celery-mailproxy(\[[^]]*\])"', (ROOT / "README.md").read_text())
    if extras is None:
        raise Problem("README.md does not say how to install", "Correct install_as_in_readme, or README.md.")
    python = install_in(folder / f"celery-{celery}", f"{wheel}{extras[1]}", f"celery~={celery}.0")
    script = Path(__file__).with_name("redis_round_trip.py")
    remedy = f"See which client of Redis the extra in pyproject.toml brings along with Celery {celery}."
    run([str(python), str(script), redis_url], cwd=folder, remedy=remedy)


def send_a_mail(python: Path, folder: Path) -> None:
    """Outside the checkout, so that nothing of it is imported."""
    work = folder / "work"
    work.mkdir()
    script = Path(__file__).with_name("send_one_mail.py")
    remedy = "The output above is the installed wheel's: run it by hand with an environment that has it, "
    run([str(python), str(script), str(work)], cwd=work, remedy=f"{remedy}python {script.relative_to(ROOT)} FOLDER.")


def run(command: list[str], *, remedy: str, cwd: Path = ROOT) -> str:
    """The output of a command, which is ended with us. Raises `Problem`."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "MAIL_PROXY"))}
    # The proxy that the tests have installed serves here, too.
    environment.setdefault("CELERY_MAILPROXY_CACHE", str(ROOT / ".cache" / "proxies"))
    try:
        process = subprocess.Popen(
            command, cwd=cwd, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
    except FileNotFoundError as exc:
        raise Problem(f"{command[0]} is not installed", f"Install {command[0]}.") from exc
    try:
        output, errors = process.communicate()
    except BaseException:
        process.terminate()
        process.wait()
        raise
    if process.returncode:
        last_lines = "\n  ".join(f"{output}\n{errors}".strip().splitlines()[-30:])
        raise Problem(f"{last_lines}\n  exit code {process.returncode} of {' '.join(command)}", remedy)
    return output


if __name__ == "__main__":
    sys.exit(main())
