"""genro-mail-proxy 0.7 as an application that sends from its start: `uvicorn --factory serve:create_app`.

Its own `server` module starts inactive and takes neither a database path nor a token from the environment.
"""

from __future__ import annotations

import os
from typing import Any

from core.mail_proxy.proxy import MailProxy
from core.mail_proxy.proxy_config import ProxyConfig


def create_app() -> Any:
    """The proxy's ASGI application, configured by `PROXY_DB_PATH` and `PROXY_API_TOKEN`."""
    config = ProxyConfig(
        db_path=os.environ["PROXY_DB_PATH"], api_token=os.environ["PROXY_API_TOKEN"], start_active=True
    )
    return MailProxy(config=config).api
