"""The worker's own listener: in real worker processes of every pool, and its server by itself."""

from __future__ import annotations

import importlib.util
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import click
import httpx
import pytest
from celery import Celery
from celery.bin.worker import worker as worker_command

from celery_mailproxy.errors import ConfigurationError
from celery_mailproxy.receiver import listener
from tests.conftest import required_under_ci
from tests.harness.report_request import HEADERS, body, refuses_connections
from tests.harness.services import CeleryWorker, ServiceMissing
from tests.harness.waiting import PATIENCE_SECONDS, wait_until

pytestmark = [pytest.mark.integration, pytest.mark.long(120)]

POOLS = ["solo", "threads", "prefork", "gevent", "eventlet"]

#: A project whose receiver notes what it accepts, hangs where it is told to, and runs tasks.
PROJECT = """
import os, time
from pathlib import Path
from celery import Celery
from celery_mailproxy.receiver import listener
from celery_mailproxy.receiver.receiver import ReportReceiver

FOLDER = Path(os.environ["TEST_FOLDER"])
app = Celery("project", broker="memory://")
app.conf.worker_prefetch_multiplier = 1

@app.task
def touch(name):
    (FOLDER / name).touch()

def accept(reports):
    for name in (report.message_id for report in reports):
        if name.startswith("task"):
            touch.delay(name)
            continue
        (FOLDER / name).touch()
        while name.startswith("hang") and not (FOLDER / "go").exists():
            time.sleep(0.02)

listener.install(app, receiver=ReportReceiver(accept=accept, tokens={None: ("secret",)}))
"""

#: A project as users write it: the command line plugin brings the option, the settings bring the receiver.
PLAIN_PROJECT = """
import os
from pathlib import Path
from celery import Celery
from celery_mailproxy.dispatch.signals import delivery_reported

app = Celery("project", broker="memory://")
app.conf.update(
    mail_proxy_sync_token="secret",
    mail_proxy_park_seconds=0,
    mail_proxy_store=f"sqlite:///{os.environ['TEST_FOLDER']}/store.sqlite3",
)

@delivery_reported.connect
def told(report, **kwargs):
    (Path(os.environ["TEST_FOLDER"]) / report.message_id).touch()
"""


class Worker(CeleryWorker):
    """A worker of one of the projects above, listening on a free port."""

    def __init__(self, folder: Path, *options: str, project: str = PROJECT, listen: str = "127.0.0.1:0") -> None:
        self.notes = folder
        (folder / "listening_project.py").write_text(project)
        env = {
            "TEST_FOLDER": str(folder),
            "PYTHONPATH": os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")]),
        }
        super().__init__("listening_project", options=["--mailproxy-listen", listen, *options], env=env, cwd=folder)

    @property
    def url(self) -> str:
        return self.wait_for_log(r"mailproxy listener on (http://\S+)")[1]

    def report(self, *ids: str) -> httpx.Response:
        return httpx.post(f"{self.url}/mail-proxy/sync", content=body(*ids), headers=HEADERS, timeout=PATIENCE_SECONDS)

    def wait_for_note(self, name: str) -> None:
        wait_until((self.notes / name).exists, lambda: f"the note {name}; the log:\n{self.log[-3000:]}")


def open_files(pid: int, *, kind: str = "") -> set[str]:
    """The open files of a process as the kernel numbers them, `socket:[4711]`; none of one that is ending."""
    found = set()
    with suppress(OSError):
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            found.add(os.readlink(entry))
    return {each for each in found if each.startswith(kind)}


@contextmanager
def in_background(call: Callable[[], Any]) -> Iterator[Any]:
    with ThreadPoolExecutor(1) as executor:
        yield executor.submit(call)


@pytest.fixture(params=POOLS)
def pool(request: pytest.FixtureRequest) -> str:
    if request.param in ("gevent", "eventlet") and importlib.util.find_spec(request.param) is None:
        with required_under_ci():
            raise ServiceMissing(f"{request.param} is not installed")
    return str(request.param)


# In a worker


def test_warm_shutdown_lets_the_request_in_flight_finish(pool: str, tmp_path: Path) -> None:
    with Worker(tmp_path, "-P", pool, "-c", "2") as worker:
        url = worker.url
        assert httpx.get(f"{url}/health").json() == {"status": "ok"}
        assert worker.report("task-1").json()["accepted"] == 1
        worker.wait_for_note("task-1")
        with in_background(lambda: worker.report("hang-1")) as answer:
            worker.wait_for_note("hang-1")
            assert worker.process is not None
            worker.process.terminate()
            wait_until(lambda: refuses_connections(url), "it takes no connections")
            (tmp_path / "go").touch()
            assert answer.result(timeout=PATIENCE_SECONDS).json()["accepted"] == 1
        assert worker.process.wait(PATIENCE_SECONDS) == 0


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGQUIT])
def test_other_signals_end_it_as_well(how: signal.Signals, tmp_path: Path) -> None:
    with Worker(tmp_path, "-P", "threads", "-c", "1") as worker:
        url = worker.url
        assert worker.process is not None
        worker.process.send_signal(how)
        worker.process.wait(PATIENCE_SECONDS)
        assert refuses_connections(url)


def test_cold_shutdown_does_not_wait_for_requests(tmp_path: Path) -> None:
    worker = Worker(tmp_path, "-P", "prefork", "-c", "1")
    with worker, in_background(lambda: worker.report("hang-1")) as answer:
        worker.wait_for_note("hang-1")
        assert worker.process is not None
        worker.process.send_signal(signal.SIGQUIT)
        worker.process.wait(PATIENCE_SECONDS)
        assert isinstance(answer.exception(timeout=PATIENCE_SECONDS), httpx.TransportError), (
            "unanswered is not acknowledged"
        )


def test_killed_worker_leaves_neither_port_nor_connections_with_its_children(tmp_path: Path) -> None:
    with Worker(tmp_path, "-P", "prefork", "-c", "2", "--max-tasks-per-child", "1") as worker:
        url = worker.url
        with in_background(lambda: worker.report("hang-1")) as answer:
            worker.wait_for_note("hang-1")
            assert worker.process is not None
            first_children = set(worker.pool_pids())
            # Children that are forked while the request is in flight.
            for index in range(4):
                assert worker.report(f"task-{index}").status_code == 200
                worker.wait_for_note(f"task-{index}")

            def children() -> list[int]:
                return [pid for pid in worker.pool_pids() if open_files(pid)]

            wait_until(lambda: len(set(children()) - first_children) == 2, "other children")
            if sys.platform == "linux":
                own = open_files(worker.process.pid, kind="socket:")
                assert len(own) == 2, "the port and the connection"
                assert not any(own & open_files(child) for child in children())
            worker.kill_parent()
            assert refuses_connections(url)
            assert isinstance(answer.exception(timeout=PATIENCE_SECONDS), httpx.TransportError)


def test_children_are_replaced_under_load_without_a_deadlock(tmp_path: Path) -> None:
    with Worker(tmp_path, "-P", "prefork", "-c", "2", "--max-tasks-per-child", "1") as worker:
        url = worker.url
        names = [f"task-{index}" for index in range(12)]
        with httpx.Client(headers=HEADERS, timeout=PATIENCE_SECONDS) as client, ThreadPoolExecutor(4) as executor:
            post = lambda name: client.post(f"{url}/mail-proxy/sync", content=body(name)).status_code  # noqa: E731
            assert set(executor.map(post, names)) == {200}
        for name in names:
            worker.wait_for_note(name)


def test_port_in_use_stops_the_start_and_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        worker = Worker(tmp_path, "-P", "solo", listen=f"127.0.0.1:{port}")
        with pytest.raises(RuntimeError, match="ended at its start") as info, worker:
            pass
    assert f"Error: the mailproxy listener cannot listen on 127.0.0.1:{port}: port {port} is in use" in str(info.value)
    assert "Traceback" not in str(info.value)


def test_option_and_tasks_come_with_the_installed_package(tmp_path: Path) -> None:
    with Worker(tmp_path, "-P", "solo", project=PLAIN_PROJECT) as worker:
        assert worker.report("m1", "m2").json() == {"ok": True, "queued": 0, "accepted": 2, "set_aside": 0}
        worker.wait_for_note("m1")
        worker.wait_for_note("m2")


def test_missing_token_stops_the_start_and_is_named(tmp_path: Path) -> None:
    project = PLAIN_PROJECT.replace('mail_proxy_sync_token="secret",', "")
    worker = Worker(tmp_path, "-P", "solo", project=project)
    with pytest.raises(RuntimeError, match="Error: mail_proxy_sync_token must be set"), worker:
        pass


# The option


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("0.0.0.0:9100", ("0.0.0.0", 9100)),
        ("localhost:0", ("localhost", 0)),
        ("[::1]:9100", ("::1", 9100)),
        (":9100", ("", 9100)),
        ("*:9100", ("", 9100)),
        ("9100", ("", 9100)),
    ],
)
def test_address_can_be_written_in_several_ways(text: str, address: tuple[str, int]) -> None:
    assert listener.parse_address(text) == address


@pytest.mark.parametrize("text", ["", "localhost", "host:", "host:http", "host:65536", "::1:9100", "[host]:1", "h:-1"])
def test_bad_address_is_named(text: str) -> None:
    with pytest.raises(ConfigurationError, match="--mailproxy-listen must be HOST:PORT") as info:
        listener.parse_address(text)
    assert repr(text) in str(info.value)


def test_option_is_added_once_however_often_it_is_asked_for() -> None:
    for app in (Celery(), Celery()):
        listener.install(app)
        listener.install(app)
        assert app.steps["worker"] == {listener.ListenerStep}
    listener.add_worker_option()
    options = [option for option in worker_command.params if option.name == "mailproxy_listen"]
    assert len(options) == 1
    with pytest.raises(click.BadParameter, match="'nonsense'"):
        options[0].process_value(click.Context(worker_command), "nonsense")


def test_worker_without_the_option_has_no_listener() -> None:
    app = Celery(broker="memory://")
    listener.install(app)
    step = listener.ListenerStep(app)
    assert not step.include_if(app)


def test_missing_server_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "celery_mailproxy.receiver.server", raising=False)
    monkeypatch.setitem(sys.modules, "waitress", None)
    with pytest.raises(listener.CannotListen, match=r'pip install "celery-mailproxy\[server\]"'):
        listener.ListenerStep(Celery(), mailproxy_listen=":0").create(Celery())
