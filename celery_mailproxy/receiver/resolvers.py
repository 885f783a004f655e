"""Attachment resolvers: functions of yours that give an attachment's content when the proxy comes to fetch it.

    from celery_mailproxy import Attachment, attachment_resolver

    @attachment_resolver("invoice_id")
    def invoice(params, tenant):
        pdf = render_invoice(params["invoice_id"])
        return Attachment(filename="invoice.pdf", content=pdf, mime_type="application/pdf")

A mail with `Attachment.from_endpoint("invoice_id=7", filename="invoice.pdf")` makes the proxy ask for the storage path
`invoice_id=7`. It is read as a query string, and its **first key** chooses the resolver: the one registered for that
key, else the one registered without a key (`@attachment_resolver`), else none, and the proxy gets a 404.

The module with the resolvers must be imported in the process that runs the receiver.
"""

from __future__ import annotations

import inspect
import mimetypes
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar, overload
from urllib.parse import parse_qsl

from ..errors import ConfigurationError, MailProxyError

if TYPE_CHECKING:
    from ..mail.attachment import Attachment

__all__ = [
    "DEFAULT_REGISTRY",
    "AttachmentNotFound",
    "AttachmentParams",
    "ResolvedAttachment",
    "Resolver",
    "ResolverFailed",
    "ResolverRegistry",
    "attachment_resolver",
]


class AttachmentNotFound(MailProxyError, LookupError):
    """No resolver is registered for a storage path, or the one that is knows no such attachment."""


class ResolverFailed(MailProxyError):
    """A resolver raised, or returned what is no attachment. `resolver` is its name, and the cause is chained."""

    def __init__(self, resolver: str, problem: str) -> None:
        super().__init__(resolver, problem)
        self.resolver = resolver
        self.problem = problem

    def __str__(self) -> str:
        return f"attachment resolver {self.resolver} {self.problem}"


class AttachmentParams(dict[str, str]):
    """A storage path, read as a query string: `invoice_id=7&lang=it` is `{"invoice_id": "7", "lang": "it"}`.

    Of a key that comes twice the last value counts. `storage_path` is the text as it came, for paths of another
    form: `invoices/7.pdf` is one key without a value.
    """

    def __init__(self, storage_path: str) -> None:
        super().__init__(parse_qsl(storage_path, keep_blank_values=True))
        self.storage_path = storage_path

    @property
    def first_key(self) -> str | None:
        return next(iter(self), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedAttachment:
    """What a resolver gave: the content as bytes, its media type, and a file name where there is one."""

    content: bytes = field(repr=False)
    mime_type: str = "application/octet-stream"
    filename: str | None = None


#: `(params, tenant) -> Attachment`. Bytes and text are taken as well; None or a `LookupError` means "there is none".
#: `tenant` is whose token the proxy used: None where one token serves all.
Resolver = Callable[[AttachmentParams, "str | None"], "Attachment | bytes | str | None"]

_F = TypeVar("_F", bound=Callable[..., Any])


class ResolverRegistry:
    """Resolvers by the key they answer for; None is the key of the one that answers for all others."""

    def __init__(self) -> None:
        self._resolvers: dict[str | None, Resolver] = {}

    def register(self, resolver: Resolver, *, key: str | None = None) -> None:
        """Let `resolver` answer for `key`. Raises `ConfigurationError` where another one does, and for a coroutine."""
        if inspect.iscoroutinefunction(resolver):
            raise ConfigurationError(
                f"an attachment resolver must be a plain function: it runs in a thread, so it may block. "
                f"{_name(resolver)} is a coroutine function."
            )
        known = self._resolvers.get(key)
        # A module that is imported anew (a reloading server, tests) registers the same function again.
        if known is not None and _name(known) != _name(resolver):
            what = "without a key" if key is None else f"for the key {key!r}"
            raise ConfigurationError(
                f"only one attachment resolver can be registered {what}, got {_name(known)} and {_name(resolver)}. "
                "Give one of them a key of its own: @attachment_resolver('invoice_id')."
            )
        self._resolvers[key] = resolver

    def resolve(self, storage_path: str, *, tenant_id: str | None = None) -> ResolvedAttachment:
        """The attachment of a storage path. Raises `AttachmentNotFound` or `ResolverFailed`; neither quotes it."""
        params = AttachmentParams(storage_path)
        resolver = self._resolvers.get(params.first_key) or self._resolvers.get(None)
        if resolver is None:
            raise AttachmentNotFound(
                "no attachment resolver is registered for this storage path. Register one with @attachment_resolver, "
                "in a module that the receiving process imports."
            )
        try:
            result = resolver(params, tenant_id)
        except LookupError as exc:
            raise AttachmentNotFound(f"attachment resolver {_name(resolver)} found nothing.") from exc
        except Exception as exc:
            raise ResolverFailed(_name(resolver), f"raised {type(exc).__name__}") from exc
        if result is None:
            raise AttachmentNotFound(f"attachment resolver {_name(resolver)} found nothing.")
        return _resolved(resolver, result)


#: Where `@attachment_resolver` registers.
DEFAULT_REGISTRY = ResolverRegistry()


@overload
def attachment_resolver(resolver_or_key: _F, /) -> _F: ...
@overload
def attachment_resolver(resolver_or_key: str | None = None, /) -> Callable[[_F], _F]: ...
def attachment_resolver(resolver_or_key: Any = None, /) -> Any:
    """Register a resolver: `@attachment_resolver` for all storage paths, `@attachment_resolver("key")` for those whose
    first key it is. The function itself is returned unchanged.
    """
    if callable(resolver_or_key):
        DEFAULT_REGISTRY.register(resolver_or_key)
        return resolver_or_key

    def decorate(resolver: _F) -> _F:
        DEFAULT_REGISTRY.register(resolver, key=resolver_or_key)
        return resolver

    return decorate


def _resolved(resolver: Resolver, result: Any) -> ResolvedAttachment:
    if isinstance(result, str):
        return ResolvedAttachment(content=result.encode("utf-8"), mime_type="text/plain; charset=utf-8")
    if isinstance(result, bytes | bytearray | memoryview):
        return ResolvedAttachment(content=bytes(result))
    content = getattr(result, "content", None)
    if not isinstance(content, bytes):
        raise ResolverFailed(
            _name(resolver), f"must return an Attachment with content, bytes or text, got {type(result).__name__}"
        )
    filename = result.filename
    mime_type = result.mime_type or mimetypes.guess_type(filename or "")[0]
    return ResolvedAttachment(content=content, mime_type=mime_type or "application/octet-stream", filename=filename)


def _name(resolver: Callable[..., Any]) -> str:
    function = resolver if hasattr(resolver, "__qualname__") else type(resolver)
    return f"{function.__module__}.{function.__qualname__}"
