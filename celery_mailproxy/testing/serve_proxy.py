"""Serve the real genro-mail-proxy: run by path with the proxy's own interpreter, never imported by us.

It takes its settings as JSON in the environment variable `CELERY_MAILPROXY_SERVE`: `api`, `db_path`, `api_token`,
`port`, `send_interval_seconds`, `retry_delays_seconds` (a list, or null for the proxy's own). It ends when its parent
does.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import logging
import os
import sys
import threading
import time
from collections.abc import AsyncIterator
from typing import Any


def commands_app(settings: dict[str, Any]) -> Any:
    """The application of `mail_proxy.server` (0.5.0, 0.6), with an interval and retry delays of our choice."""
    core = commands_core(settings)

    @contextlib.asynccontextmanager
    async def lifespan(_: Any) -> AsyncIterator[None]:
        await core.start()
        yield
        await core.stop()

    create_app = importlib.import_module("mail_proxy.api").create_app
    return create_app(core, api_token=settings["api_token"], lifespan=lifespan)


def v1_app(settings: dict[str, Any]) -> Any:
    """The application of the line in development, on its own server."""
    application = importlib.import_module("mail_proxy.mail_proxy_application").MailProxyApplication
    params = {"core": commands_core(settings), "api_token": settings["api_token"]}
    server = importlib.import_module("genro_asgi").AsgiServer
    try:
        return server(applications=[application(**params)], middleware={"auth": False})
    except ValueError:
        # genro-asgi 0.46 makes the application itself.
        return server(applications=[(application, params)], middleware={"auth": False})


def commands_core(settings: dict[str, Any]) -> Any:
    """What sends and reports in 0.5.0, 0.6 and the line in development."""
    core = importlib.import_module("mail_proxy.core").MailProxy(
        db_path=settings["db_path"],
        start_active=True,
        send_loop_interval=settings["send_interval_seconds"],
        retry_delays=settings["retry_delays_seconds"],
    )
    stop = core.stop

    async def stop_at_once() -> None:
        # Its clean-up loop sleeps for 150 seconds at a time, and stop() would wait for it.
        core._task_cleanup.cancel()
        await stop()

    core.stop = stop_at_once
    return core


def entities_app(settings: dict[str, Any]) -> Any:
    """An active proxy (0.7.0): its own `server` module starts inactive and takes no settings."""
    config = importlib.import_module("core.mail_proxy.proxy_config")
    delays = settings["retry_delays_seconds"]
    proxy_config = config.ProxyConfig(
        db_path=settings["db_path"],
        api_token=settings["api_token"],
        start_active=True,
        timing=config.TimingConfig(send_loop_interval=settings["send_interval_seconds"]),
        retry=config.RetryConfig(delays=tuple(delays)) if delays else config.RetryConfig(),
    )
    return importlib.import_module("core.mail_proxy.proxy").MailProxy(config=proxy_config).api


def exit_with_parent() -> None:
    """End this process soon after its parent has died: a killed test run leaves no server behind."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def main() -> None:
    """Serve until told to stop."""
    exit_with_parent()
    settings = json.loads(os.environ.pop("CELERY_MAILPROXY_SERVE"))
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    apps = {"commands-0.5": commands_app, "commands-0.6": commands_app, "entities": entities_app, "v1": v1_app}
    app = apps[settings["api"]](settings)
    uvicorn = importlib.import_module("uvicorn")
    uvicorn.run(app, host="127.0.0.1", port=settings["port"], access_log=False)


if __name__ == "__main__":
    # Python puts the folder of a script first on its path; our modules are not for the proxy to see.
    sys.path.pop(0)
    main()
