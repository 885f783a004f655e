"""The worker's own listener: `celery -A proj worker --mailproxy-listen 0.0.0.0:9100` takes the proxy's reports.

The option is there wherever celery-mailproxy is installed: its command line plugin calls `add_worker_option`. Set-ups
without the plugin (`app.Worker(mailproxy_listen=":9100")`, a package that is only on the path) call `install(app)`.

The listener runs in threads of the worker's main process, whatever the pool. A warm shutdown stops it first, and lets
the requests in flight finish.
"""

from __future__ import annotations

import importlib
import logging
from typing import TYPE_CHECKING, Any

import click
from celery import Celery, bootsteps
from celery.signals import celeryd_init

from ..errors import ConfigurationError, MailProxyError

# Every `celery` command imports this module: what only a worker with a listener needs is imported there.
if TYPE_CHECKING:
    from .receiver import ReportReceiver
    from .server import ReportServer

__all__ = ["ENVIRONMENT_VARIABLE", "CannotListen", "ListenerStep", "add_worker_option", "install", "parse_address"]

logger = logging.getLogger(__name__)

#: Says where to listen where the option is not given.
ENVIRONMENT_VARIABLE = "MAIL_PROXY_LISTEN"

_OPTION = "mailproxy_listen"


class CannotListen(ConfigurationError, click.ClickException):
    """The listener cannot be set up, and the worker does not start. On the command line it is shown as one line."""


class ListenerStep(bootsteps.StartStopStep):  # type: ignore[misc]
    """A step of the worker: serves the app's receiver, if the worker was given `mailproxy_listen`."""

    # After the pool: its first processes are forked before there are threads.
    requires = ("celery.worker.components:Pool",)
    label = "MailProxyListener"
    conditional = True

    #: What to serve instead of the app's own receiver.
    receiver: ReportReceiver | None = None

    def __init__(self, parent: Any, mailproxy_listen: str | None = None, **options: Any) -> None:
        super().__init__(parent, **options)
        self._address = mailproxy_listen
        self.enabled = bool(mailproxy_listen)

    def create(self, parent: Any) -> ReportServer:
        # Before anything is started: wrong settings and a port in use stop the worker at once.
        try:
            # Not at the top: the server is an optional dependency, and only workers that listen need it.
            from .server import open_server

            host, port = parse_address(self._address or "")
            return open_server(parent.app, self.receiver, host=host, port=port)
        except MailProxyError as exc:
            raise CannotListen(str(exc)) from exc

    def start(self, parent: Any) -> None:
        self.obj.start()
        logger.info("mailproxy listener on %s", ", ".join(self.obj.urls))

    def stop(self, parent: Any) -> None:
        self.obj.stop()
        logger.info("mailproxy listener stopped")

    def terminate(self, parent: Any) -> None:
        # Unanswered requests cost nothing: the proxy sends its reports again.
        self.obj.stop(drain_seconds=0)


def parse_address(text: str, *, option: str = "--mailproxy-listen") -> tuple[str, int]:
    """`HOST:PORT`, `[IPV6]:PORT`, `:PORT` or `PORT` as `(host, port)`; without a host it is every IPv4 address, "".

    Raises `ConfigurationError` that names the option and the value.
    """
    host, _, port = text.strip().rpartition(":")
    is_bracketed = host.startswith("[") and host.endswith("]")
    is_port = port.isascii() and port.isdigit() and int(port) <= 65535
    if not is_port or (":" in host and not is_bracketed) or (is_bracketed and ":" not in host):
        raise ConfigurationError(
            f"{option} must be HOST:PORT with a port up to 65535 (0 for a free one), [IPV6]:PORT, :PORT or PORT, "
            f"got {text!r}."
        )
    host = host[1:-1] if is_bracketed else host
    return ("" if host == "*" else host), int(port)


def add_worker_option() -> None:
    """Give `celery worker` the option `--mailproxy-listen`, and its workers the step behind it. Once is enough."""
    # Not at the top: a web process that calls install() in its app module pays for this, others do not.
    from celery.bin.base import CeleryOption
    from celery.bin.worker import worker

    celeryd_init.connect(_on_worker_init, weak=False, dispatch_uid="celery_mailproxy.receiver.listener")
    if any(parameter.name == _OPTION for parameter in worker.params):
        return
    option = CeleryOption(
        ["--mailproxy-listen", _OPTION],
        metavar="HOST:PORT",
        envvar=ENVIRONMENT_VARIABLE,
        show_envvar=True,
        callback=_checked,
        help_group="Mail Proxy Options",
        help="Take genro-mail-proxy's delivery reports on this address, inside the worker. Port 0 is a free one.",
    )
    worker.params.append(option)


def install(app: Celery, *, receiver: ReportReceiver | None = None) -> None:
    """The same for one app, where the command line plugin is not there; and with another `receiver` than its own."""
    add_worker_option()
    steps = app.steps["worker"]
    steps.difference_update({step for step in steps if _is_listener(step)})
    steps.add(type("ListenerStep", (ListenerStep,), {"receiver": receiver}) if receiver else ListenerStep)


def _on_worker_init(instance: Any, options: dict[str, Any], **_: Any) -> None:
    if not options.get(_OPTION):
        return
    steps = instance.app.steps["worker"]
    if not any(_is_listener(step) for step in steps):
        steps.add(ListenerStep)
    # Also without the command line plugin: a listener that nobody dispatches for would be of little use.
    importlib.import_module("celery_mailproxy.tasks")


def _is_listener(step: Any) -> bool:
    return isinstance(step, type) and issubclass(step, ListenerStep)


def _checked(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    if value:
        try:
            parse_address(value)
        except ConfigurationError as exc:
            raise click.BadParameter(str(exc), ctx=context, param=parameter) from exc
    return value
