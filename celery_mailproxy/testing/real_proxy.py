"""The real genro-mail-proxy as a test server: `RealProxy`."""

from __future__ import annotations

import json
import os
import secrets
import signal

# Runs the proxy.
import subprocess  # nosec B404
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import httpx

from celery_mailproxy.errors import MailProxyError
from celery_mailproxy.testing.ports import free_port
from celery_mailproxy.testing.proxy_admin import ProxyAdmin
from celery_mailproxy.testing.proxy_install import API, Progress, ProxyInstall, install_proxy, source_install

if TYPE_CHECKING:
    # Python 3.10 has no typing.Self.
    from typing_extensions import Self

__all__ = ["ProxyInstall", "RealProxy", "install_proxy"]


class RealProxy(ProxyAdmin):
    """A real genro-mail-proxy on a free port of 127.0.0.1, in a separate process. Enter it to start it.

    Args:
        api: `"commands"` or `"commands-0.5"` (genro-mail-proxy 0.5.0) or `"entities"` (0.7.0); with `source` also
            `"commands-0.6"` (0.5.8 to 0.6.10) or `"v1"` (the line in development).
        api_token: its admin token; by default a random one.
        port: its port; by default a free one, which stays the same when it is started again.
        db_path: its SQLite file; by default a fresh one, removed at the end. It outlives `kill()` and `stop()`.
        send_interval_seconds: how often it looks for mail to send (at least 0.05).
        retry_delays_seconds: after how many seconds it tries a deferred mail again, e.g. `(1, 1, 1)`; whole seconds;
            by default its own: 60, 300, 900 …
        install: what `install_proxy(api)` returned; by default it is called.
        source: a source tree of yours, in place of a release: a checkout of the tag v0.6.10, say.
        python: the interpreter of an environment with its dependencies; by default one with those of 0.7.0, which are
            those of 0.6.10 too. v1 wants genro-asgi.
        cache_dir, progress: passed to `install_proxy`.

    Attributes: those of `ProxyAdmin`, and `port`, `db_path`, `log_path` (what it logs, all starts in one file), `pid`.

        with RealProxy("entities") as proxy, MailSink() as sink:
            proxy.add_tenant("acme", client_base_url="http://127.0.0.1:9100", bearer_token="secret")
            proxy.add_account("acme", "main", sink.host, sink.port)
    """

    def __init__(
        self,
        api: API = "entities",
        *,
        api_token: str | None = None,
        port: int | None = None,
        db_path: Path | None = None,
        send_interval_seconds: float = 0.1,
        retry_delays_seconds: tuple[int, ...] | None = None,
        install: ProxyInstall | None = None,
        source: Path | None = None,
        python: Path | None = None,
        cache_dir: Path | None = None,
        progress: Progress | None = None,
    ) -> None:
        self.api = api
        self.token = api_token or secrets.token_urlsafe(16)
        self.port = port or free_port()
        self._folder = tempfile.TemporaryDirectory(prefix="celery-mailproxy-")
        self.db_path = db_path or Path(self._folder.name) / "proxy.db"
        self.log_path = Path(self._folder.name) / "proxy.log"
        self._settings = {
            "api": self.profile,
            "send_interval_seconds": send_interval_seconds,
            "retry_delays_seconds": list(retry_delays_seconds) if retry_delays_seconds else None,
        }
        self._install = install
        self._source = source
        self._python = python
        self._cache_dir = cache_dir
        self._progress = progress
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int | None:
        """The server's process id while it runs, else None."""
        return self._process.pid if self._process and self._process.poll() is None else None

    @property
    def log(self) -> str:
        """What the server has logged so far."""
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self._folder.cleanup()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def start(self, *, timeout_seconds: float = 30.0) -> None:
        """Start the server, on the same port and data as before, and wait until it answers.

        Raises:
            MailProxyError: it ended or did not answer in time; the message holds the end of its log.
        """
        if self.pid is not None:
            return
        self._install = self._install or self._find()
        with self.log_path.open("ab") as log:
            # Our own command, without a shell.
            self._process = subprocess.Popen(  # nosec B603
                [str(self._install.python), str(Path(__file__).with_name("serve_proxy.py"))],
                env=self._environment(self._install),
                cwd=self._folder.name,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl+C is for the test run, which then stops the server
            )
        try:
            self._wait_until_healthy(self._process, timeout_seconds)
        except BaseException:
            self.kill()
            raise

    def stop(self) -> None:
        """Stop the server as an administrator would (SIGTERM), and keep its data."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """Kill the server (SIGKILL): what it had in memory is lost, its data are kept."""
        self._end(signal.SIGKILL)

    def close(self) -> None:
        """Stop the server and remove its files."""
        self.stop()
        self._folder.cleanup()

    def _find(self) -> ProxyInstall:
        where: dict[str, Any] = {"cache_dir": self._cache_dir, "progress": self._progress}
        if self._source is None:
            return install_proxy(self.api, **where)
        return source_install(self.api, self._source, python=self._python, **where)

    def _environment(self, install: ProxyInstall) -> dict[str, str]:
        ours = ("PYTHON", "GMP_", "VIRTUAL_ENV")
        environment = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
        # In the environment and not on the command line, where everybody on the machine could read the token.
        environment["CELERY_MAILPROXY_SERVE"] = json.dumps(
            {**self._settings, "db_path": str(self.db_path), "api_token": self.token, "port": self.port}
        )
        environment["PYTHONPATH"] = os.pathsep.join(map(str, install.python_path))
        environment["PYTHONUNBUFFERED"] = "1"
        return environment

    def _wait_until_healthy(self, process: subprocess.Popen[bytes], timeout_seconds: float) -> None:
        deadline = time.monotonic() + timeout_seconds
        with httpx.Client(timeout=2.0, trust_env=False) as client:
            while time.monotonic() < deadline:
                # Look at the process first: on a taken port another server would answer in its place.
                if process.poll() is not None:
                    raise MailProxyError(f"genro-mail-proxy ended at its start:\n{self._end_of_log()}")
                try:
                    if client.get(f"{self.url}{self.base_path}/health").status_code == 200:
                        return
                except httpx.TransportError:
                    pass
                time.sleep(0.05)
        raise MailProxyError(f"genro-mail-proxy did not answer within {timeout_seconds:g} s:\n{self._end_of_log()}")

    def _end(self, how: signal.Signals, *, grace_seconds: float = 10.0) -> None:
        self._close_http()
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(how)
        try:
            process.wait(grace_seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _end_of_log(self) -> str:
        return "\n".join(self.log.splitlines()[-15:])
