"""Send mail from Celery through genro-mail-proxy, and get its delivery reports back.

Importing the package does nothing: each public name is imported from its module when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

# module → its public names. This states the public surface. `__init__.pyi` repeats it for type checkers, which do not
# run code; `tests/unit/test_public_surface.py` holds the two together.
_PUBLIC = {
    "_version": ("__version__",),
    "control.cancellation": ("CancelOutcome", "Cancellation"),
    "control.cancelling": ("cancel", "cancel_many"),
    "control.pausing": ("Pause", "pause", "resume", "run_now"),
    "deliveries.delivery": ("Delivery", "Status"),
    "deliveries.report": ("DeliveryReport", "Kind"),
    "dispatch": ("signals",),
    "errors": (
        "CancelSend",
        "ConfigurationError",
        "DeliveryCancelled",
        "DeliveryError",
        "DeliveryExpired",
        "DeliverySuppressed",
        "InvalidMessage",
        "InvalidReport",
        "MailProxyError",
        "MessageIdInUse",
        "MessageRejected",
        "MessageTooLarge",
        "ProxyRequestError",
        "ProxyUnavailable",
        "StoreError",
        "UnforeseenError",
        "UnsupportedMessage",
    ),
    "mail.message": ("Attachment", "MailMessage", "Priority"),
    "proxy.client": ("ProxyClient",),
    "receiver.receiver": ("ReportReceiver",),
    "receiver.resolvers": ("attachment_resolver",),
    "runtime": ("get_delivery",),
    "tasks": (
        "deliver_via_proxy",
        "dispatch_reports",
        "prune_deliveries",
        "resume_stalled",
        "send_many_via_proxy",
        "send_via_proxy",
    ),
    "tasks.results.campaign": ("deliver_many_via_proxy",),
    "tasks.sending.gate": ("Submission",),
}

_MODULES = {name: f".{module}" for module, names in _PUBLIC.items() for name in names}

__all__ = sorted(_MODULES)


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = import_module(_MODULES[name], __name__)
    # `signals` is a module itself, which nothing may have imported yet.
    value = vars(module)[name] if name in vars(module) else import_module(f"{module.__name__}.{name}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return list(__all__)
