"""Moving to the proxy step by step, while the rest of the mail goes the way it went before.

`migrate` wraps a mail task; `get_router` says which transport a mail takes. Both call the same signals and callbacks:
`report.via` is "proxy" or "legacy". See `mail_proxy_migration` for the settings.
"""

from __future__ import annotations

from .routing import LEGACY, PROXY, Router, get_router
from .wrapping import migrate

__all__ = ["LEGACY", "PROXY", "Router", "get_router", "migrate"]
