"""`Authenticator`: who sends a report, by the token in its `Authorization` header."""

from __future__ import annotations

import base64
import binascii
import hmac
import logging
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

from ..conf.settings import SyncTokens, Unset
from ..errors import ConfigurationError

__all__ = ["CHALLENGES", "Authenticator", "Caller"]

logger = logging.getLogger(__name__)

#: The values of `WWW-Authenticate`, one header each (RFC 9110, 11.6.1).
CHALLENGES = ('Bearer realm="mail-proxy"', 'Basic realm="mail-proxy", charset="UTF-8"')


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who may pass. `tenant_id` is None for a token that is good for any tenant, and without authentication."""

    tenant_id: str | None


class Authenticator:
    """Compares a credential with every configured token, in constant time.

    `tokens` maps a tenant to the tokens it may use (two at once while they rotate); the key None stands for any
    tenant. None switches authentication off, on purpose; unset is refused with `ConfigurationError`.
    """

    def __init__(self, tokens: SyncTokens | Unset | None) -> None:
        if isinstance(tokens, Unset):
            raise ConfigurationError(
                "mail_proxy_sync_token must be set: without it anybody could send delivery reports. Set it to the "
                "token that the proxy's tenant sends (its client_auth), or to None to do without on purpose."
            )
        self._is_off = tokens is None
        self._tokens = tuple(_encoded(tokens or {}))
        if self._is_off:
            logger.warning("mail_proxy_sync_token is None: delivery reports are taken from anybody")

    def authenticate(self, authorization: str | None) -> Caller | None:
        """The caller that an `Authorization` header names, else None.

        `Bearer TOKEN` and `Basic base64(user:password)` are understood; what is compared is the whole of `TOKEN`,
        or of `user:password`.
        """
        if self._is_off:
            return Caller(tenant_id=None)
        credential = _credential(authorization or "")
        caller = None
        # Every token is compared, also after a match: the time taken must not tell which one it was.
        for tenant_id, token in self._tokens:
            if hmac.compare_digest(token, credential):
                caller = Caller(tenant_id=tenant_id)
        # No token is empty (the settings see to that), so a missing credential never matches.
        return caller


def _encoded(tokens: SyncTokens) -> Iterator[tuple[str | None, bytes]]:
    owners: dict[str, str | None] = {}
    for tenant_id, texts in tokens.items():
        for text in texts:
            if not text:
                raise ConfigurationError(f"mail_proxy_sync_token[{tenant_id!r}] must not be empty.")
            if owners.setdefault(text, tenant_id) != tenant_id:
                raise ConfigurationError(
                    f"mail_proxy_sync_token must tell tenants apart, and {owners[text]!r} and {tenant_id!r} have the "
                    "same token. Give each its own."
                )
            yield tenant_id, text.encode("utf-8")
            if not text.isascii():
                # aiohttp, the proxy's HTTP client, writes Basic credentials in Latin-1.
                with suppress(UnicodeEncodeError):
                    yield tenant_id, text.encode("latin-1")


def _credential(authorization: str) -> bytes:
    scheme, _, value = authorization.strip().partition(" ")
    # Servers hand headers over as Latin-1: this gives back the bytes that were sent.
    raw = value.strip().encode("latin-1", "replace")
    if scheme.lower() == "bearer":
        return raw
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(raw, validate=True)
        except binascii.Error:
            return b""
    return b""
