"""The tests on every supported Python and Celery: `make matrix`; `make oldest` runs what CI runs of it.

Interpreters are found on PATH and among pyenv's. A session whose interpreter is missing is skipped, and says so.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import nox

nox.needs_version = ">=2024.10.9"
nox.options.envdir = ".cache/nox"
nox.options.reuse_venv = "yes"
nox.options.download_python = "never"
# A run that nobody sees skipped would prove nothing.
nox.options.error_on_missing_interpreters = bool(os.environ.get("CI"))

PYTHONS = ("3.10", "3.11", "3.12", "3.13")
NEWEST = "newest"

#: The lower bounds in pyproject.toml.
OLDEST = [
    "celery[redis]==5.3.0",
    "kombu==5.3.0",
    "httpx==0.25.0",
    "idna==3.7",
    "redis==4.5.2",
    "rich==13.0.0",
    "waitress==3.0.1",
    "prometheus-client==0.17.0",
]

#: What to install for each Celery: the kombu and the redis client of its time. An old kombu does not bound that client
#: and cannot do with one of today: it warns on every connection, and does not notice a broker that is gone.
REQUIREMENTS = {
    "5.3": OLDEST,
    "5.4": ["celery[redis]~=5.4.0", "kombu~=5.4.0", "redis~=5.2.0"],
    "5.5": ["celery[redis]~=5.5.0", "kombu~=5.5.0"],
    "5.6": ["celery[redis]~=5.6.0", "kombu~=5.6.0"],
    NEWEST: ["celery[redis]", "kombu", "redis"],
}

PAIRS = [("3.10", "5.3"), ("3.10", "5.4"), ("3.11", "5.5"), ("3.12", "5.6"), *((python, NEWEST) for python in PYTHONS)]

ALL_TESTS = ("tests", "--ignore", "tests/benchmarks", "--full")

#: Django → the Pythons that it supports, of ours.
DJANGOS = {
    "4.2": ("3.10", "3.11", "3.12"),
    "5.2": ("3.10", "3.11", "3.12", "3.13"),
    "6.1": ("3.12", "3.13"),
}
DJANGO_PAIRS = [(python, django) for django, pythons in DJANGOS.items() for python in pythons]
DJANGO_TESTS = ("tests/django", "--ds", "tests.django.settings", "--full")


def _pyenv_folders() -> list[str]:
    """The folders of pyenv's interpreters; its commands on PATH start only those that it is told to, often one."""
    if not (pyenv := shutil.which("pyenv")):
        return []
    root = subprocess.run([pyenv, "root"], stdout=subprocess.PIPE, text=True, check=True).stdout.strip()
    return [str(folder) for python in PYTHONS for folder in sorted(Path(root, "versions").glob(f"{python}.*/bin"))]


os.environ["PATH"] = os.pathsep.join([*_pyenv_folders(), os.environ["PATH"]])


@nox.session
@nox.parametrize(
    ("python", "celery"), [nox.param(python, celery, tags=[f"celery-{celery}"]) for python, celery in PAIRS]
)
def tests(session: nox.Session, celery: str) -> None:
    """All tests, or what follows `--`."""
    session.install("--upgrade", "-e", ".[dev]", *REQUIREMENTS[celery])
    session.run("python", "-m", "pytest", "-n", "2", "--dist", "loadfile", *(session.posargs or ALL_TESTS))


@nox.session
@nox.parametrize(
    ("python", "django"),
    [
        nox.param(*pair, tags=["django", *(["django-bounds"] if pair in (DJANGO_PAIRS[0], DJANGO_PAIRS[-1]) else [])])
        for pair in DJANGO_PAIRS
    ],
)
def django(session: nox.Session, django: str) -> None:
    """The tests of Django, or what follows `--`."""
    session.install("--upgrade", "-e", ".[dev]", f"django~={django}.0")
    session.run("python", "-m", "pytest", *DJANGO_TESTS, "-n", "2", "--dist", "loadfile", *session.posargs)
