"""For the users' own tests: a fake proxy, the real one, an SMTP sink; and pytest fixtures in `pytest_plugin`.

Importing this package imports nothing else; each name is loaded at its first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from celery_mailproxy.testing.fake_proxy import FakeProxy
    from celery_mailproxy.testing.mail_sink import MailSink
    from celery_mailproxy.testing.real_proxy import RealProxy, install_proxy

__all__ = ["FakeProxy", "MailSink", "RealProxy", "install_proxy"]

_MODULES = {
    "FakeProxy": "fake_proxy",
    "MailSink": "mail_sink",
    "RealProxy": "real_proxy",
    "install_proxy": "real_proxy",
}


if not TYPE_CHECKING:
    # Hidden from type checkers: to them it would make every misspelt name Any.
    def __getattr__(name: str) -> Any:
        if name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
