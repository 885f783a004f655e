"""`MailProxyCommand`: what the commands share. An error is one red line and exit code 1, not a traceback."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import click
from celery import Celery
from kombu.exceptions import OperationalError

from ..broker.clients import missing_client
from ..errors import InvalidMessage, MailProxyError
from .terminal import Terminal

__all__ = ["MailProxyCommand", "app_of", "shown_url"]

_TRACEBACK = f"{__name__}.traceback"


class MailProxyCommand(click.Command):
    """A command that reports a `MailProxyError` or an unreachable broker in one line.

    `argument_options` of a command's context maps arguments of `send_via_proxy` to the options that set them.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params.append(_traceback_option())

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return _invoked(super().invoke, ctx)
        except (MailProxyError, OperationalError) as exc:
            if ctx.meta.get(_TRACEBACK) or os.environ.get("CELERY_MAILPROXY_DEBUG"):
                raise
            Terminal.of(ctx).error(_one_line(exc, ctx))
        raise click.exceptions.Exit(1)


def _invoked(invoke: Callable[[click.Context], Any], ctx: click.Context) -> Any:
    try:
        return invoke(ctx)
    except ImportError as exc:
        if (error := missing_client(exc)) is not None:
            raise error from exc
        raise


def app_of(ctx: click.Context, *, with_handlers: bool = False) -> Celery:
    """The application that `celery -A` names; `with_handlers` imports its task modules, which connect its handlers."""
    app: Celery = ctx.obj.app
    _set_up_django()
    if with_handlers:
        app.loader.import_default_modules()
    return app


def shown_url(connection: Any) -> str:
    """The URL of a connection to the broker, its password masked; kombu masks one that is not there, too."""
    return str(connection.as_uri()).replace("://:**@", "://")


def _set_up_django() -> None:
    """What Celery itself does for a worker only: a Django project's settings and models are those of our commands."""
    if os.environ.get("DJANGO_SETTINGS_MODULE"):
        import django

        django.setup()


def _one_line(exc: Exception, ctx: click.Context) -> str:
    if isinstance(exc, InvalidMessage):
        options = ctx.meta.get("argument_options", {})
        argument, bracket, index = exc.argument.partition("[")
        return f"{options.get(argument, argument)}{bracket}{index}: {exc.problem}"
    if isinstance(exc, OperationalError):
        problem = str(exc).rstrip(".")
        return f"the broker cannot be reached: {problem}. Start it, or correct broker_url."
    return str(exc)


def _traceback_option() -> click.Option:
    def remember(ctx: click.Context, option: click.Parameter, value: bool) -> None:
        ctx.meta[_TRACEBACK] = value

    return click.Option(
        ["--traceback"],
        is_flag=True,
        expose_value=False,
        callback=remember,
        help="Show the traceback of an error; CELERY_MAILPROXY_DEBUG=1 does the same.",
    )
