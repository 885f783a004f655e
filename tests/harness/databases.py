"""PostgreSQL and MariaDB of the tests' own."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
from pathlib import Path
from typing import Any

import psycopg

from .server_process import ServerProcess, ServiceMissing

__all__ = ["MariaServer", "PostgresServer"]

# Data are thrown away: nothing has to be safe on the disk.
_POSTGRES_OPTIONS = ("fsync=off", "full_page_writes=off", "max_connections=60")
_MARIA_OPTIONS = ("--innodb-flush-log-at-trx-commit=0", "--skip-log-bin", "--innodb-buffer-pool-size=64M")


def program(name: str, *, service: str, folders: tuple[str, ...], remedy: str) -> str:
    """The path of a program, looked for in these folders besides the PATH.

    Raises:
        ServiceMissing: it is in none of them.
    """
    found = shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", ""), *folders]))
    if found is None:
        raise ServiceMissing(f"{service} is not installed (no {name}; Debian, Ubuntu: {remedy})")
    return found


class PostgresServer(ServerProcess):
    """A PostgreSQL on a free port with data of its own; user `postgres`, no password.

    It refuses to run as root: then it runs as the user `postgres`, or else as `nobody`.
    """

    name = "postgres"

    def __init__(self, *, is_killed: bool = False) -> None:
        """With `is_killed` a commit is in its log before it is acknowledged, and outlives the death of the server."""
        super().__init__()
        self._commits = f"synchronous_commit={'on' if is_killed else 'off'}"

    @property
    def django(self) -> dict[str, Any]:
        """For Django's `DATABASES`."""
        return {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": "postgres",
            "USER": "postgres",
            "HOST": "127.0.0.1",
            "PORT": self.port,
        }

    def command(self) -> list[str]:
        options = (
            f"port={self.port}",
            "listen_addresses=127.0.0.1",
            f"unix_socket_directories={self.folder}",
            *_POSTGRES_OPTIONS,
            self._commits,
        )
        settings = [argument for option in options for argument in ("-c", option)]
        return [*self._as_user(), _postgres("postgres"), "-D", str(self.folder / "data"), *settings]

    def launch(self) -> None:
        if not (self.folder / "data").exists():
            if user := _unprivileged_user():
                os.chown(self.folder, user.pw_uid, user.pw_gid)
            options = ("-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync")
            _run([*self._as_user(), _postgres("initdb"), "-D", str(self.folder / "data"), *options], cwd=self.folder)
        super().launch()

    def is_ready(self) -> bool:
        with contextlib.suppress(psycopg.OperationalError):
            psycopg.connect(host="127.0.0.1", port=self.port, user="postgres", dbname="postgres").close()
            return True
        return False

    def stop(self) -> None:
        """End it in order without waiting for clients; its data are kept."""
        if self.process is not None and self.pid is not None:
            self.process.send_signal(signal.SIGINT)
        super().stop()

    def close(self) -> None:
        # Killed, it would leave shared memory behind.
        self.stop()
        super().close()

    def _as_user(self) -> list[str]:
        user = _unprivileged_user()
        if user is None:
            return []
        setpriv = program("setpriv", service="setpriv", folders=("/usr/bin",), remedy="apt-get install util-linux")
        return [setpriv, f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups", "--"]


class MariaServer(ServerProcess):
    """A MariaDB (or MySQL) server with data of its own, reached by a socket in its folder; user `root`, no password."""

    name = "mariadb"

    @property
    def django(self) -> dict[str, Any]:
        """For Django's `DATABASES`."""
        return {
            "ENGINE": "django.db.backends.mysql",
            "NAME": "mailproxy",
            "USER": "root",
            "HOST": self._socket,
            # Django's own default up to 5.1 leaves half of the emoji out.
            "OPTIONS": {"charset": "utf8mb4"},
            # The server's own default may be latin1.
            "TEST": {"CHARSET": "utf8mb4"},
        }

    def command(self) -> list[str]:
        return [
            _mariadb("mariadbd"),
            *self._common(),
            f"--socket={self._socket}",
            f"--port={self.port}",
            "--bind-address=127.0.0.1",
            f"--pid-file={self.folder / 'pid'}",
            *_MARIA_OPTIONS,
        ]

    def launch(self) -> None:
        if not (self.folder / "data").exists():
            install = [_mariadb("mariadb-install-db"), *self._common()]
            _run([*install, "--auth-root-authentication-method=normal", "--skip-test-db"], cwd=self.folder)
        super().launch()

    def is_ready(self) -> bool:
        # Whom it does not serve yet, it lets wait.
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            return probe.connect_ex(self._socket) == 0

    @property
    def _socket(self) -> str:
        return str(self.folder / "socket")

    def _common(self) -> list[str]:
        user = pwd.getpwuid(os.geteuid()).pw_name
        return ["--no-defaults", f"--datadir={self.folder / 'data'}", f"--user={user}"]


def _unprivileged_user() -> pwd.struct_passwd | None:
    """Whom to run as instead of root; None where we are not root."""
    if os.geteuid() != 0:
        return None
    known = {user.pw_name: user for user in pwd.getpwall()}
    return known.get("postgres") or known["nobody"]


def _postgres(name: str) -> str:
    # Debian keeps them off the PATH, a folder for each version.
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda each: int(each.parent.name), reverse=True)
    return program(name, service="PostgreSQL", folders=tuple(map(str, folders)), remedy="apt-get install postgresql")


def _mariadb(name: str) -> str:
    return program(name, service="MariaDB", folders=("/usr/sbin",), remedy="apt-get install mariadb-server")


def _run(command: list[str], *, cwd: Path) -> None:
    done = subprocess.run(command, cwd=cwd, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{command[0]} failed:\n{done.stdout}{done.stderr}")
