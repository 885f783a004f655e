"""Send mail from Celery through genro-mail-proxy, and get its delivery reports back.

Importing the package does nothing: each public name is imported from its module when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ._version import __version__

if TYPE_CHECKING:
    from .campaigns import deliver_many_via_proxy
    from .deliveries.delivery import Delivery, Status
    from .deliveries.report import DeliveryReport, Kind
    from .errors import (
        ConfigurationError,
        DeliveryError,
        InvalidMessage,
        InvalidReport,
        MailProxyError,
        MessageRejected,
        ProxyRequestError,
        ProxyUnavailable,
        StoreError,
        UnsupportedMessage,
    )
    from .mail.message import Attachment, MailMessage, Priority
    from .proxy.client import ProxyClient
    from .receiver import ReportReceiver
    from .resolvers import attachment_resolver
    from .runtime import get_delivery
    from .tasks import (
        deliver_via_proxy,
        dispatch_reports,
        prune_deliveries,
        resume_stalled,
        send_many_via_proxy,
        send_via_proxy,
    )

_MODULES = {
    "Attachment": ".mail.message",
    "ConfigurationError": ".errors",
    "Delivery": ".deliveries.delivery",
    "DeliveryError": ".errors",
    "DeliveryReport": ".deliveries.report",
    "InvalidMessage": ".errors",
    "InvalidReport": ".errors",
    "Kind": ".deliveries.report",
    "MailMessage": ".mail.message",
    "MailProxyError": ".errors",
    "MessageRejected": ".errors",
    "Priority": ".mail.message",
    "ProxyClient": ".proxy.client",
    "ProxyRequestError": ".errors",
    "ProxyUnavailable": ".errors",
    "ReportReceiver": ".receiver",
    "Status": ".deliveries.delivery",
    "StoreError": ".errors",
    "UnsupportedMessage": ".errors",
    "attachment_resolver": ".resolvers",
    "deliver_many_via_proxy": ".campaigns",
    "deliver_via_proxy": ".tasks",
    "dispatch_reports": ".tasks",
    "get_delivery": ".runtime",
    "prune_deliveries": ".tasks",
    "resume_stalled": ".tasks",
    "send_many_via_proxy": ".tasks",
    "send_via_proxy": ".tasks",
}

__all__ = [
    "Attachment",
    "ConfigurationError",
    "Delivery",
    "DeliveryError",
    "DeliveryReport",
    "InvalidMessage",
    "InvalidReport",
    "Kind",
    "MailMessage",
    "MailProxyError",
    "MessageRejected",
    "Priority",
    "ProxyClient",
    "ProxyRequestError",
    "ProxyUnavailable",
    "ReportReceiver",
    "Status",
    "StoreError",
    "UnsupportedMessage",
    "__version__",
    "attachment_resolver",
    "deliver_many_via_proxy",
    "deliver_via_proxy",
    "dispatch_reports",
    "get_delivery",
    "prune_deliveries",
    "resume_stalled",
    "send_many_via_proxy",
    "send_via_proxy",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_MODULES[name], __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return list(__all__)
