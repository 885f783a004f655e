"""`Authenticator`: who sends a report, by the token in its `Authorization` header."""

from __future__ import annotations

import base64
import binascii
import hmac
import logging
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

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
    tenant. `auth` is `mail_proxy_sync_auth`: "none" switches authentication off. Raises `ConfigurationError` where
    there is no token and authentication is on, and where there is one and it is off.
    """

    def __init__(self, tokens: SyncTokens | Unset, *, auth: Literal["token", "none"] = "token") -> None:
        found = tokens if isinstance(tokens, Mapping) else {}
        self._is_off = auth == "none"
        if self._is_off and found:
            raise ConfigurationError("mail_proxy_sync_token and mail_proxy_sync_auth 'none' exclude each other.")
        if not self._is_off and not found:
            raise ConfigurationError(
                "mail_proxy_sync_token must be set: without it anybody could send delivery reports. Set it to the "
                "token that the proxy's tenant sends (its client_auth). To do without on purpose, set "
                "mail_proxy_sync_auth to 'none'."
            )
        self._tokens = tuple(_encoded(found))
        if self._is_off:
            logger.warning("mail_proxy_sync_auth is 'none': delivery reports are taken from anybody")

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
