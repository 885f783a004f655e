"""Readers of settings: each turns what a user wrote into a value, or raises `ConfigurationError`.

A reader is `(key, value) -> value`; `key` is as the user wrote it, for the message.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any, Final
from urllib.parse import urlsplit

from celery.utils.imports import symbol_by_name

from ..errors import ConfigurationError

__all__ = ["UNSET", "SyncTokens", "Unset", "from_environment"]


class Unset(Enum):
    """The type of `UNSET`."""

    UNSET = "unset"


#: A setting that is not made, where None is a decision of its own.
UNSET: Final = Unset.UNSET

#: tenant id → the tokens it may use; the key None stands for "any tenant".
SyncTokens = Mapping[str | None, tuple[str, ...]]


def from_environment(text: str) -> Any:
    """An environment variable's value: JSON where it looks like an object or a list, else the text itself."""
    stripped = text.strip()
    if stripped[:1] in ("{", "["):
        try:
            return json.loads(stripped)
        except ValueError:
            return text
    return text


def text(key: str, value: Any) -> str:
    if not isinstance(value, str):
        raise ConfigurationError(f"{key} must be a non-empty text, got a value of type {type(value).__name__}.")
    if not value.strip():
        raise ConfigurationError(
            f"{key} must be a non-empty text, and it is empty: is the variable that it comes from set, and spelt "
            "right? Leave the setting out to do without it."
        )
    return value.strip()


def header_text(key: str, value: Any) -> str:
    """A text that travels in an HTTP header: printable ASCII (RFC 9110, 5.5)."""
    shown = text(key, value)
    if not all(" " <= character <= "~" for character in shown):
        # The value is not shown: it is a secret.
        raise ConfigurationError(f"{key} must be of printable ASCII characters, without a line break.")
    return shown


def client_cert(key: str, value: Any) -> tuple[str, ...]:
    """`"both.pem"`, or `("certificate.pem", "key.pem")`."""
    paths = [value] if isinstance(value, str) else value
    is_list = isinstance(paths, list | tuple) and len(paths) in (1, 2)
    if not is_list or not all(isinstance(path, str) and path.strip() for path in paths):
        raise ConfigurationError(
            f"{key} must be the path of a certificate with its key, or a list of two paths, [certificate, key], "
            f"got {value!r}."
        )
    return tuple(path.strip() for path in paths)


def http_url(key: str, value: Any) -> str:
    problem = f"{key} must be a URL like 'http://mail-proxy:8000' without user or password"
    if not isinstance(value, str):
        raise ConfigurationError(f"{problem}, got a value of type {type(value).__name__}.")
    try:
        parts = urlsplit(value.strip())
        port_is_valid = parts.port is None or parts.port > 0
    except ValueError as exc:
        raise ConfigurationError(f"{problem}: {exc}.") from exc
    if parts.username or parts.password:
        # The value is not shown: it holds a password.
        raise ConfigurationError(f"{problem}. Put the secret in mail_proxy_token.")
    if parts.scheme not in ("http", "https") or not parts.hostname or not port_is_valid:
        raise ConfigurationError(f"{problem}, got {value!r}.")
    if parts.query or parts.fragment:
        raise ConfigurationError(f"{problem} and without '?' or '#', got {value!r}.")
    return value.strip().rstrip("/")


def mailbox_url(key: str, value: Any) -> str:
    """The URL of a mailbox that bounces come to; what its kind asks for besides, it says itself when it is opened."""
    schemes = ("imaps", "imap", "maildir", "mbox")
    shown = text(key, value)
    scheme, separator, place = shown.partition("://")
    if scheme.lower() not in schemes or not separator or not place:
        # The value is not shown: it holds a password.
        raise ConfigurationError(
            f"{key} must begin with {', '.join(f'{each}://' for each in schemes)} and name a mailbox, like "
            "'imaps://user:password@mail.example.com/INBOX'."
        )
    return shown


def verp_template(key: str, value: Any) -> str:
    """An address with `{id}` in its local part: `bounces+{id}@example.com`."""
    template = text(key, value)
    local, at, domain = template.rpartition("@")
    is_plain = template.isascii() and template.isprintable() and not any(char in ' "<>(),;:[]\\' for char in template)
    if not (at and domain and is_plain and local.count("{id}") == 1 and "{" not in domain and "@" not in local):
        raise ConfigurationError(f"{key} must be an address like 'bounces+{{id}}@example.com', got {value!r}.")
    return template


def url_path(key: str, value: Any) -> str:
    path = text(key, value)
    if not path.startswith("/") or any(c in path for c in "?# ") or "//" in path:
        raise ConfigurationError(f"{key} must be a path that starts with '/', got {value!r}.")
    return path.rstrip("/") or "/"


def address_list(key: str, value: Any) -> tuple[str, ...]:
    """`"a@example.com"`, `"a@example.com, b@example.com"`, or a list."""
    addresses = _texts(key, value)
    for address in addresses:
        local, _, domain = address.rpartition("@")
        if not local or not domain or any(character in address for character in "<> \t\r\n"):
            raise ConfigurationError(f"{key} must be bare addresses like 'qa@example.com', got {address!r}.")
    return addresses


def recipient_patterns(key: str, value: Any) -> tuple[str, ...]:
    """Addresses, and domains as `"@example.com"`; lower case."""
    patterns = tuple(pattern.lower() for pattern in _texts(key, value))
    for pattern in patterns:
        if pattern.count("@") != 1 or pattern.endswith("@") or any(character in pattern for character in "<>* \t\r\n"):
            raise ConfigurationError(
                f"{key} must be addresses like 'qa@example.com' and domains like '@example.com', got {pattern!r}."
            )
    return patterns


def _texts(key: str, value: Any) -> tuple[str, ...]:
    given = value.split(",") if isinstance(value, str) else value
    if not isinstance(given, list | tuple | set | frozenset) or not all(isinstance(each, str) for each in given):
        raise ConfigurationError(
            f"{key} must be a text or a list of texts, got a value of type {type(value).__name__}."
        )
    found = tuple(each.strip() for each in given)
    if not found or not all(found):
        # An empty list would switch the guard off: that is done by leaving the setting out.
        raise ConfigurationError(f"{key} must name at least one address, and no empty one. Leave it out for none.")
    return found


def one_of(*choices: str) -> Callable[[str, Any], str]:
    def read(key: str, value: Any) -> str:
        if value not in choices:
            raise ConfigurationError(f"{key} must be one of {', '.join(map(repr, choices))}, got {value!r}.")
        return str(value)

    return read


def positive_number(key: str, value: Any) -> float:
    number = _number(key, value, float)
    if number <= 0:
        raise ConfigurationError(f"{key} must be greater than 0, got {value!r}.")
    return float(number)


def natural_number(key: str, value: Any) -> float:
    number = _number(key, value, float)
    if number < 0:
        raise ConfigurationError(f"{key} must be 0 or more, got {value!r}.")
    return float(number)


def positive_integer(*, maximum: int | None = None) -> Callable[[str, Any], int]:
    def read(key: str, value: Any) -> int:
        number = int(_number(key, value, int))
        if number < 1 or (maximum is not None and number > maximum):
            limits = "1 or more" if maximum is None else f"from 1 to {maximum}"
            raise ConfigurationError(f"{key} must be {limits}, got {value!r}.")
        return number

    return read


def natural_integer(key: str, value: Any) -> int:
    number = int(_number(key, value, int))
    if number < 0:
        raise ConfigurationError(f"{key} must be 0 or more, got {value!r}.")
    return number


def boolean(key: str, value: Any) -> bool:
    if isinstance(value, bool):
        return value
    word = str(value).strip().lower()
    if isinstance(value, str) and word in ("1", "true", "yes", "on", "0", "false", "no", "off"):
        return word in ("1", "true", "yes", "on")
    raise ConfigurationError(f"{key} must be True or False, got {value!r}.")


def mapping(key: str, value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
        # The value is not shown: it may hold tokens.
        raise ConfigurationError(
            f"{key} must be a dict of name → {{'url': …, 'token': …}}, got a value of type {type(value).__name__}."
        )
    return dict(value)


def callable_or_path(key: str, value: Any) -> Callable[..., Any]:
    if isinstance(value, str):
        try:
            value = symbol_by_name(value)
        except (ImportError, AttributeError, ValueError) as exc:
            raise ConfigurationError(f"{key} must name a callable, and {value!r} cannot be imported: {exc}") from exc
    if not callable(value):
        raise ConfigurationError(f"{key} must be a callable or its dotted path, got {value!r}.")
    return value  # type: ignore[no-any-return]


def sync_tokens(key: str, value: Any) -> SyncTokens | None:
    """`"token"`, `["new", "old"]`, or `{"tenant": "token" | ["new", "old"]}`; None where None or "" stands there."""
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    if isinstance(value, Mapping):
        if not value:
            raise ConfigurationError(f"{key} must name at least one tenant.")
        return {text(key, tenant): _token_list(f"{key}[{tenant!r}]", tokens) for tenant, tokens in value.items()}
    return {None: _token_list(key, value)}


def settled_sync_tokens(key: str, tokens: SyncTokens | Unset | None, *, auth: str) -> SyncTokens | Unset:
    """What `sync_tokens` has read, or `UNSET`, as `mail_proxy_sync_auth` allows it.

    An empty one is refused: an environment variable whose name is mistyped must not let anybody report.
    """
    if auth == "none":
        if isinstance(tokens, Mapping):
            raise ConfigurationError(
                f"{key} must be left out while mail_proxy_sync_auth is 'none': nobody would be asked for it. Remove "
                "one of the two."
            )
        return UNSET
    if tokens is None:
        raise ConfigurationError(
            f"{key} must be a token, and it is empty: is the environment variable that it comes from set, and spelt "
            "right? To take reports from anybody on purpose, set mail_proxy_sync_auth to 'none'."
        )
    return tokens


def _token_list(key: str, value: Any) -> tuple[str, ...]:
    tokens = [value] if isinstance(value, str) else value
    is_list = isinstance(tokens, list | tuple | set | frozenset) and len(tokens) > 0
    if not is_list or not all(isinstance(token, str) and token.strip() for token in tokens):
        # The value is not shown: it is a secret.
        raise ConfigurationError(f"{key} must be a non-empty text or a list of such, got {type(value).__name__}.")
    return tuple(token.strip() for token in tokens)


def _number(key: str, value: Any, kind: type[int] | type[float]) -> int | float:
    noun = "a whole number" if kind is int else "a number"
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ConfigurationError(f"{key} must be {noun}, got {value!r}.")
    if kind is int and isinstance(value, float) and not value.is_integer():
        raise ConfigurationError(f"{key} must be {noun}, got {value!r}.")
    try:
        number = kind(value)
    except (ValueError, OverflowError) as exc:
        raise ConfigurationError(f"{key} must be {noun}, got {value!r}.") from exc
    if number != number or number in (float("inf"), float("-inf")):
        raise ConfigurationError(f"{key} must be {noun}, got {value!r}.")
    return number
