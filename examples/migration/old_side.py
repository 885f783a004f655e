"""The old side: a released django-celery-email in a virtual environment of its own, installed once."""

from __future__ import annotations

import glob
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

__all__ = ["RELEASES", "install_old_side"]

#: The package, and the Django that it runs on here.
RELEASES = {
    "3.0.0": ("django-celery-email==3.0.0", "Django>=5.2,<5.3"),
    "reboot": ("django-celery-email-reboot==4.3.1", "Django>=6.1,<6.2"),
}

#: Django 6.1 needs a newer Python than this project.
_OLDEST_PYTHON = {"3.0.0": (3, 10), "reboot": (3, 12)}
_NEWEST_MINOR = 14

_CACHE = Path(__file__).parents[2] / ".cache" / "legacy"


def install_old_side(release: str, *, progress: Callable[[str], object] = lambda line: None) -> Path:
    """The Python that has this release (`3.0.0` or `reboot`). The first call takes about half a minute.

    Raises `RuntimeError` where no fitting Python is installed, or pip cannot install it.
    """
    python = _interpreter(_OLDEST_PYTHON[release])
    version = _run([python, "-c", "import platform; print(platform.python_version())"]).strip()
    folder = _CACHE / f"{release}-{version}"
    if not folder.exists():
        progress(f"installing {RELEASES[release][0]} into a virtual environment of its own …")
        # Made whole beside its place: another run may want it meanwhile, and only one of them wins.
        unfinished = folder.with_name(f"{folder.name}.{os.getpid()}")
        try:
            _install(python, unfinished, release)
            unfinished.rename(folder)
        except OSError:
            if not folder.exists():
                raise
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    return folder / "bin" / "python"


def _install(python: str, folder: Path, release: str) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    _run([python, "-m", "venv", str(folder)])
    pip = [str(folder / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "--no-input", "install"]
    _run([*pip, "--quiet", *RELEASES[release], "celery[redis]>=5.3"])


def _interpreter(oldest: tuple[int, int]) -> str:
    if sys.version_info[:2] >= oldest:
        return sys.executable
    for candidate in _candidates(oldest[1]):
        # pyenv's commands on the PATH start only the versions that it is told to.
        if subprocess.run([candidate, "-c", ""], capture_output=True, check=False).returncode == 0:
            return candidate
    raise RuntimeError(
        f"this release needs Python {oldest[0]}.{oldest[1]} or newer: install one, and put it on the PATH"
    )


def _candidates(oldest_minor: int) -> Iterator[str]:
    for minor in range(_NEWEST_MINOR, oldest_minor - 1, -1):
        if found := shutil.which(f"python3.{minor}"):
            yield found
        root = os.environ.get("PYENV_ROOT") or str(Path.home() / ".pyenv")
        yield from glob.glob(f"{root}/versions/3.{minor}.*/bin/python3.{minor}")


def _run(command: list[str]) -> str:
    # The caller's PYTHONPATH, PYTHONWARNINGS … are about this project.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(
        command, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )
    if done.returncode:
        last_lines = "\n".join(done.stdout.strip().splitlines()[-15:])
        raise RuntimeError(f"{' '.join(command)!r} ended with exit code {done.returncode}:\n{last_lines}")
    return done.stdout
