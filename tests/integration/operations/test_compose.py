"""docker-compose.yml: what it says, and its services run by hand, command for command, where no container engine is.

Redis and the SMTP server are the tests' own; Flower and Mailpit are images of others, of which only the description is
looked at.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import yaml

from celery_mailproxy.testing import MailSink, install_proxy
from celery_mailproxy.testing.ports import free_port
from celery_mailproxy.testing.proxy_install import PROXY_VERSIONS

from ...harness.services import RedisServer, ServerProcess
from ...harness.waiting import PATIENCE_SECONDS

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[3]
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
LASTING = [name for name, service in SERVICES.items() if service["restart"] != "no"]
DOCKERFILES = sorted((ROOT / "docker").glob("*/Dockerfile"))

#: Of https://github.com/compose-spec/compose-spec, what is used here.
SERVICE_KEYS = {
    *("build", "command", "depends_on", "environment", "healthcheck", "image", "ports", "restart"),
    *("stop_grace_period", "volumes"),
}
CONDITIONS = {"service_healthy", "service_completed_successfully"}
HEALTHCHECK_KEYS = {"test", "interval", "timeout", "retries", "start_period"}

_VARIABLE = re.compile(r"\$\{(\w+)(?::([-?])([^}]*))?\}")


def example_variables() -> dict[str, str]:
    """What .env.example sets."""
    lines = (ROOT / ".env.example").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def interpolated(value: str, variables: Mapping[str, str]) -> str:
    """As Compose does it: `${NAME:?message}` must be set, `${NAME:-default}` need not be."""

    def replacement(match: re.Match[str]) -> str:
        name, kind, rest = match.groups()
        if variables.get(name):
            return variables[name]
        assert kind == "-", f"{name} is not set: {rest}"
        return str(rest)

    return _VARIABLE.sub(replacement, value)


# What it says


def test_it_has_the_services_that_it_promises() -> None:
    assert set(SERVICES) == {"redis", "mailpit", "proxy", "setup", "worker", "flower"}
    assert set(COMPOSE) == {"services", "volumes"}


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_uses_known_keys_and_a_pinned_image(name: str) -> None:
    service = SERVICES[name]
    assert set(service) <= SERVICE_KEYS
    assert re.fullmatch(r"[\w./-]+:v?\d+\.\d+\.\d+(-[\w.]+)?", service["image"])
    assert service["restart"] in ("no", "unless-stopped")
    if "build" in service:
        build = service["build"]
        folder = ROOT / (build if isinstance(build, str) else build["context"])
        assert (folder / ("Dockerfile" if isinstance(build, str) else build["dockerfile"])).is_file()


@pytest.mark.parametrize("name", LASTING)
def test_a_service_that_stays_has_a_health_check(name: str) -> None:
    check = SERVICES[name]["healthcheck"]
    assert set(check) <= HEALTHCHECK_KEYS
    assert check["test"][0] == "CMD"
    assert all(re.fullmatch(r"\d+s", check[key]) for key in ("interval", "timeout"))
    assert isinstance(check["retries"], int)


def test_dependencies_exist_and_can_come_true() -> None:
    dependencies = [each for service in SERVICES.values() for each in service.get("depends_on", {}).items()]
    assert dependencies
    for name, dependency in dependencies:
        assert dependency["condition"] in CONDITIONS
        is_lasting = dependency["condition"] == "service_healthy"
        assert (name in LASTING) is is_lasting
        assert ("healthcheck" in SERVICES[name]) is is_lasting


def test_volumes_are_named_and_used() -> None:
    used = {volume.partition(":")[0] for service in SERVICES.values() for volume in service.get("volumes", [])}
    assert used == set(COMPOSE["volumes"])


def test_ports_are_published_on_the_loopback_address_only() -> None:
    ports = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert ports
    assert all(re.fullmatch(r"127\.0\.0\.1:\$\{\w+:-\d+\}:\d+", port) for port in ports)


def test_no_secret_is_written_down() -> None:
    given = [each for service in SERVICES.values() for each in service.get("environment", {}).items()]
    secrets = {key: value for key, value in given if re.search("TOKEN|AUTH|PASSWORD|SECRET", key)}
    assert "MAIL_PROXY_TOKEN" in secrets
    assert [key for key, value in secrets.items() if not re.fullmatch(r"\$\{\w+:\?[^}]+\}", value)] == []
    assert [key for key, value in given if re.search(r"://[^/]*:[^/]*@", value)] == []


def test_every_variable_stands_in_the_example_file() -> None:
    used = {match[1] for match in _VARIABLE.finditer((ROOT / "docker-compose.yml").read_text())}
    assert used == set(example_variables())
    with pytest.raises(AssertionError, match=r"MAIL_PROXY_TOKEN is not set: copy \.env\.example to \.env first"):
        interpolated(SERVICES["worker"]["environment"]["MAIL_PROXY_TOKEN"], {})


def compose_cli() -> list[str] | None:
    """Compose as a plugin of docker, or by itself."""
    for command in (["docker", "compose"], ["docker-compose"]):
        if shutil.which(command[0]) and subprocess.run([*command, "version"], capture_output=True).returncode == 0:
            return command
    return None


def test_compose_itself_accepts_it() -> None:
    """Where it is installed, its own word; everywhere, interpolation and types as the specification has them."""
    if (compose := compose_cli()) is not None:
        command = [*compose, "--env-file", ".env.example", "config", "--quiet"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    for service in SERVICES.values():
        assert all(isinstance(value, str) for value in service.get("environment", {}).values())
        assert all(isinstance(part, str) for part in service.get("command", []))
    interpolated((ROOT / "docker-compose.yml").read_text(), example_variables())


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.parent.name)
def test_a_dockerfile_is_pinned_and_copies_what_exists(path: Path) -> None:
    text = path.read_text()
    assert re.search(r"^FROM python:3\.13\.\d+-slim$", text, re.MULTILINE)
    assert re.search(r"^USER (?!root)", text, re.MULTILINE)
    context = path.parent if path.parent.name == "proxy" else ROOT
    copied = [source for line in re.findall(r"^COPY (.+)$", text, re.MULTILINE) for source in line.split()[:-1]]
    assert copied
    assert [source for source in copied if not (context / source).exists()] == []


def test_the_proxys_image_holds_the_release_that_the_tests_run() -> None:
    version = PROXY_VERSIONS["entities"]
    assert f"ARG VERSION={version}\n" in (ROOT / "docker/proxy/Dockerfile").read_text()
    assert SERVICES["proxy"]["image"].endswith(f":{version}")


# Run by hand


class Service(ServerProcess):
    """A service's command, environment and health check; `places` maps what they say to what is so here."""

    def __init__(self, name: str, *, port: int, places: Mapping[str, str], cwd: Path, env: Mapping[str, str]) -> None:
        self.name = f"compose-{name}"
        super().__init__(port=port)
        self.service = SERVICES[name]
        self.places = places
        self.cwd = cwd
        self.env = env

    def here(self, text: str) -> str:
        for place, actual in self.places.items():
            text = text.replace(place, actual)
        return interpolated(text, example_variables())

    def parts(self, words: list[str]) -> list[str]:
        python = self.places["python"]
        program = {"python": [python], "celery": [python, "-m", "celery"]}
        return [*program[words[0]], *(self.here(word) for word in words[1:])]

    def command(self) -> list[str]:
        return self.parts(self.service.get("command") or self.image_command())

    def image_command(self) -> list[str]:
        text = (ROOT / self.service["build"] / "Dockerfile").read_text()
        return list(yaml.safe_load(re.findall(r"^CMD (\[.*\])$", text, re.MULTILINE)[0]))

    def environment(self) -> dict[str, str]:
        own = {key: self.here(value) for key, value in self.service["environment"].items()}
        return {**os.environ, "PYTHONUNBUFFERED": "1", **self.env, **own}

    def working_directory(self) -> Path:
        return self.cwd

    def is_ready(self) -> bool:
        check = self.parts(self.service["healthcheck"]["test"][1:])
        return subprocess.run(check, capture_output=True, timeout=PATIENCE_SECONDS, check=False).returncode == 0

    def run(self, *command: str) -> str:
        """As `docker compose exec` or a service that runs once does; its output."""
        done = subprocess.run(
            self.parts(list(command)),
            cwd=self.cwd,
            env=self.environment(),
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@pytest.fixture
def worker(redis_server: RedisServer, mail_sink: MailSink, tmp_path: Path) -> Iterator[Service]:
    """All of it in the order of `depends_on`: Redis, the SMTP server, the proxy, the set-up, the worker."""
    install = install_proxy("entities")
    proxy_port, worker_port = free_port(), free_port()
    databases = {number: f"127.0.0.1:{redis_server.port}/{9 + number}" for number in range(3)}
    for number in databases:
        with redis_server.client(9 + number) as client:
            client.flushdb()
    places = {
        "0.0.0.0:9100": f"127.0.0.1:{worker_port}",
        "0.0.0.0": "127.0.0.1",
        "proxy:8000": f"127.0.0.1:{proxy_port}",
        "127.0.0.1:8000": f"127.0.0.1:{proxy_port}",
        "worker:9100": f"127.0.0.1:{worker_port}",
        "127.0.0.1:9100": f"127.0.0.1:{worker_port}",
        **{f"redis:6379/{number}": place for number, place in databases.items()},
        "mailpit": mail_sink.host,
        "/data/": f"{tmp_path}/",
        "/opt/proxy/": f"{ROOT}/docker/proxy/",
    }
    of_proxy: dict[str, Any] = {
        "port": proxy_port,
        "places": {**places, "8000": str(proxy_port), "1025": str(mail_sink.port), "python": str(install.python)},
        "cwd": tmp_path,
        "env": {"PYTHONPATH": os.pathsep.join(map(str, [*install.python_path, ROOT / "docker/proxy"]))},
    }
    of_worker: dict[str, Any] = {
        "port": worker_port,
        "places": {**places, "python": sys.executable},
        "cwd": ROOT / "examples/celery_basic",
        "env": {},
    }
    with ExitStack() as stack:
        stack.enter_context(Service("proxy", **of_proxy))
        setup = Service("setup", **of_proxy)
        stack.callback(setup.close)
        assert setup.run(*setup.service["command"]).startswith("tenant shop with account main reports to")
        # Once more, as `docker compose up` does each time.
        setup.run(*setup.service["command"])
        yield stack.enter_context(Service("worker", **of_worker))


def test_the_services_commands_work_together(worker: Service, mail_sink: MailSink) -> None:
    message_id = worker.run("python", "-m", "shop.place_order", "7", "ann@example.com").split()[1]
    (mail,) = mail_sink.wait_for(1, timeout_seconds=PATIENCE_SECONDS)
    assert mail.message["Subject"] == "Your order 7"
    worker.run("celery", "-A", "shop", "mailproxy", "check", "--send-to", "me@example.com")
    assert f"mail {message_id} was sent after" in worker.log
    assert "order 7 is on its way: its confirmation was sent" in worker.log
    assert not any(token in worker.log for token in example_variables().values() if "change-me" in token)
