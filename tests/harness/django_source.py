"""Django's own tests, which its wheel leaves out: from the source distribution of the installed release."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import django

__all__ = ["django_tests"]

_CACHE = Path(__file__).parents[2] / ".cache" / "django"


def django_tests() -> Path:
    """The folder `tests` of the installed release, fetched by pip once. Raises `RuntimeError` where pip cannot."""
    folder = _CACHE / django.get_version()
    if not folder.exists():
        # Made whole beside its place: another run may want it meanwhile.
        unfinished = _CACHE / f"{folder.name}.{os.getpid()}"
        try:
            _fetch(unfinished)
            shutil.move(unfinished, folder)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    return next(folder.glob("*/tests"))


def _fetch(folder: Path) -> None:
    folder.mkdir(parents=True)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", "download", "--no-deps"]
    release = ["--no-binary", "django", "--dest", str(folder), f"Django=={django.get_version()}"]
    # The caller's PYTHONWARNINGS … are about this project.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run([*pip, *release], env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"Django's source distribution could not be fetched:\n{done.stdout}\n{done.stderr}")
    for archive in folder.glob("*.tar.gz"):
        with tarfile.open(archive) as tar:
            members = [one for one in tar.getmembers() if "/tests/mail/" in one.name and one.isfile()]
            if hasattr(tarfile, "data_filter"):
                tar.extractall(folder, members, filter="data")
            else:  # Python before 3.10.12 and 3.11.4
                tar.extractall(folder, members)
        archive.unlink()
