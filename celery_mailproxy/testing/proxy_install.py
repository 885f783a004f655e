"""Installing the real genro-mail-proxy beside us: `install_proxy`.

The proxy never shares an environment with the project under test. One virtual environment per Python version holds
the dependencies of both releases (they are the same set), and the code of each release stands beside it:

    <cache>/cpython-3.13.0/
        dependencies/      a virtual environment
        commands-0.5.0/    the wheel, unpacked by pip
        entities-0.7.0/    the source distribution's src/

Each of the three folders holds a file `.complete` once it is whole; one without it is removed and made again.
"""

from __future__ import annotations

import os
import platform
import shutil
import sqlite3

# Runs pip.
import subprocess  # nosec B404
import sys
import tarfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from celery_mailproxy.errors import MailProxyError
from celery_mailproxy.testing.proxy_admin import API, Profile, profile_of

__all__ = ["API", "PROXY_VERSIONS", "ProxyInstall", "install_proxy", "source_install"]

Progress = Callable[[str], None]

#: The releases that can be had from the package index: the wheels of 0.5.8 to 0.6.10 lack some of their own modules.
PROXY_VERSIONS: dict[API, str] = {"commands": "0.5.0", "entities": "0.7.0"}

#: The name of each in the cache.
_NAMES: dict[Profile, API] = {"commands-0.5": "commands", "entities": "entities"}

_COMPLETE = ".complete"
_LOCK_TIMEOUT_SECONDS = 900.0


@dataclass(frozen=True, kw_only=True)
class ProxyInstall:
    """Where one installed proxy is: start it with `python`, and `python_path` in `PYTHONPATH`."""

    api: API
    version: str
    python: Path
    python_path: tuple[Path, ...]


def install_proxy(api: API, *, cache_dir: Path | None = None, progress: Progress | None = None) -> ProxyInstall:
    """Install genro-mail-proxy from the package index, once, and say where it is.

    Args:
        api: `"commands"` or `"commands-0.5"` (genro-mail-proxy 0.5.0), or `"entities"` (0.7.0).
        cache_dir: where installations are kept; by default `$CELERY_MAILPROXY_CACHE`, else `celery-mailproxy` in the
            user's cache directory (`$XDG_CACHE_HOME` or `~/.cache`, on macOS `~/Library/Caches`).
        progress: is called with a line of text before each step that takes seconds.

    The first call takes about 20 seconds, a later one a few milliseconds. Any number of processes may call it at
    once: one installs, the others wait for it. pip runs with the user's own configuration.

    Raises:
        MailProxyError: a step failed; the message ends with the last lines of its output and what to do.
    """
    name = _name_of(api)
    version = f"{platform.python_implementation().lower()}-{platform.python_version()}"
    folder = (cache_dir or _default_cache_dir()).absolute() / version
    dependencies, code = folder / "dependencies", folder / f"{name}-{PROXY_VERSIONS[name]}"
    if not (_is_complete(dependencies) and _is_complete(code)):
        folder.mkdir(parents=True, exist_ok=True)
        with _lock(folder / "install.lock", progress):
            _install(name, dependencies, code, progress or _silent)
    return ProxyInstall(api=api, version=PROXY_VERSIONS[name], python=_python_of(dependencies), python_path=(code,))


def source_install(
    api: API,
    source: Path,
    *,
    python: Path | None = None,
    cache_dir: Path | None = None,
    progress: Progress | None = None,
) -> ProxyInstall:
    """The proxy in a source tree (or in its `src/`), with the dependencies of `python`, by default 0.7.0's.

    Raises:
        MailProxyError: there is no such proxy in the folder, or a step of `install_proxy` failed.
    """
    profile_of(api)
    code = next((folder for folder in (source / "src", source) if _holds_proxy(folder)), None)
    if code is None:
        raise MailProxyError(f"source must be a folder with genro-mail-proxy's src/, got {str(source)!r}")
    if python is None:
        python = install_proxy("entities", cache_dir=cache_dir, progress=progress).python
    return ProxyInstall(api=api, version="source", python=python, python_path=(code.absolute(),))


def _holds_proxy(folder: Path) -> bool:
    return (folder / "mail_proxy").is_dir() or (folder / "core" / "mail_proxy").is_dir()


def _name_of(api: str) -> API:
    with suppress(ValueError):
        if (name := _NAMES.get(profile_of(api))) is not None:
            return name
    raise MailProxyError(
        f"api must be 'commands', 'commands-0.5' or 'entities', got {api!r}: the package index has no other release "
        "that starts. Use RealProxy(api, source=FOLDER) with a source tree."
    )


def _install(api: API, dependencies: Path, code: Path, progress: Progress) -> None:
    if not _is_complete(dependencies):
        with _made_whole(dependencies):
            progress("Creating a virtual environment for genro-mail-proxy …")
            _run([sys.executable, "-m", "venv", str(dependencies)], dependencies)
            progress("Installing genro-mail-proxy's dependencies …")
            # The wheel of 0.7.0 lacks some of its own modules, but names the dependencies of both releases.
            _pip(dependencies, "install", f"genro-mail-proxy=={PROXY_VERSIONS['entities']}")
    if not _is_complete(code):
        with _made_whole(code):
            progress(f"Installing genro-mail-proxy {PROXY_VERSIONS[api]} …")
            fetch = _fetch_wheel if api == "commands" else _fetch_source
            fetch(dependencies, code)


def _fetch_wheel(dependencies: Path, code: Path) -> None:
    release = f"genro-mail-proxy=={PROXY_VERSIONS['commands']}"
    _pip(dependencies, "install", "--no-deps", "--target", str(code), release)


def _fetch_source(dependencies: Path, code: Path) -> None:
    """Put the `src/` of the source distribution in `code`: only there all modules of 0.7.0 are found."""
    version = PROXY_VERSIONS["entities"]
    download = code / "download"
    # Only this one project as source: `:all:` would build its build requirements from source too.
    only_source = ("--no-deps", "--no-binary", "genro-mail-proxy")
    _pip(dependencies, "download", *only_source, "--dest", str(download), f"genro-mail-proxy=={version}")
    for archive in download.glob("*.tar.gz"):
        with tarfile.open(archive) as tar:
            if hasattr(tarfile, "data_filter"):
                tar.extractall(download, filter="data")
            else:  # Python before 3.10.12 and 3.11.4
                # The code in it is going to be run, too.
                tar.extractall(download)  # nosec B202
    for package in (download / f"genro_mail_proxy-{version}" / "src").iterdir():
        package.rename(code / package.name)
    shutil.rmtree(download)


def _pip(dependencies: Path, *arguments: str) -> None:
    pip = [str(_python_of(dependencies)), "-m", "pip", "--disable-pip-version-check", "--no-input"]
    _run([*pip, *arguments], dependencies)


def _run(command: list[str], dependencies: Path) -> None:
    # The caller's PYTHONPATH, PYTHONWARNINGS … are about his project.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    # Pip, by its path and with our own arguments.
    done = subprocess.run(  # nosec B603
        command, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )
    if done.returncode:
        last_lines = "\n".join(done.stdout.strip().splitlines()[-15:])
        raise MailProxyError(
            f"genro-mail-proxy could not be installed: {' '.join(command)!r} ended with exit code "
            f"{done.returncode}:\n{last_lines}\n"
            "Check that pip reaches your package index (`python -m pip config list`, `python -m pip download "
            f"genro-mail-proxy`) and run this again; it goes on in {dependencies.parent}."
        )


def _default_cache_dir() -> Path:
    """The user's: in the working directory it would be installed for each, and end up in somebody's commit."""
    if chosen := os.environ.get("CELERY_MAILPROXY_CACHE"):
        return Path(chosen)
    if sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    elif os.name == "nt":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "celery-mailproxy"


def _python_of(environment: Path) -> Path:
    return environment / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def _is_complete(folder: Path) -> bool:
    if not (folder / _COMPLETE).exists():
        return False
    # A virtual environment outlives the interpreter it was made of.
    return folder.name != "dependencies" or _python_of(folder).exists()


@contextmanager
def _made_whole(folder: Path) -> Iterator[None]:
    """Start with an empty folder; mark it complete if the block ends well."""
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    yield
    (folder / _COMPLETE).touch()


@contextmanager
def _lock(path: Path, progress: Progress | None) -> Iterator[None]:
    """Hold a lock between processes, which the system gives back when its holder dies.

    SQLite's file lock is the one in the standard library that works alike on all systems and waits with a time-out.
    """
    with closing(sqlite3.connect(path, timeout=0, isolation_level=None)) as connection:
        try:
            connection.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError:
            (progress or _silent)("Waiting for another process that installs genro-mail-proxy …")
            connection.execute(f"PRAGMA busy_timeout = {int(_LOCK_TIMEOUT_SECONDS * 1000)}")
            connection.execute("BEGIN EXCLUSIVE")
        yield


def _silent(line: str) -> None:
    """Show no progress."""
