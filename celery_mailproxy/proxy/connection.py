"""`Connection`: one HTTP call after another to a proxy, over a pool of connections, each bounded in time and size."""

from __future__ import annotations

import ssl
from pathlib import Path

import httpx

from ..conf.settings import ServerSettings
from ..errors import ConfigurationError, ProxyUnavailable
from .answers import Answer
from .api import Call
from .deadline import bound, within

__all__ = ["Connection"]

#: The longest answer that is read. The longest that the proxy gives are lists of messages with their bodies, and a 422,
#: which quotes what it refuses; past this a server that never ends would fill the worker's memory.
MAX_ANSWER_BYTES = 64 * 1024 * 1024

_CONNECT_SECONDS = 5.0


class Connection:
    """Sends calls to one proxy. Safe to share between threads and greenlets; not across a fork.

    Raises `ConfigurationError` where the settings of the server make no client.
    """

    def __init__(self, server: ServerSettings, *, transport: httpx.BaseTransport | None = None) -> None:
        self._url = server.url
        self._timeout_seconds = server.timeout_seconds
        self._http = bound(_client(server, transport))

    def send(self, call: Call) -> Answer:
        """The answer, whatever it is.

        Raises `ProxyUnavailable` where none came within the server's `timeout_seconds`, all in all.
        """
        try:
            with (
                within(self._timeout_seconds),
                self._http.stream(call.method, call.path, params=dict(call.params) or None, json=call.json) as response,
            ):
                content, oddity, is_too_long = _read(response)
                return Answer(
                    status=response.status_code,
                    content=content,
                    oddity=oddity,
                    is_too_long=is_too_long,
                    retry_after=response.headers.get("retry-after", ""),
                    date=response.headers.get("date", ""),
                )
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as exc:
            # After a time-out nothing is taken for sure: a slow network is no refusal.
            is_refused = isinstance(exc, httpx.ConnectError)
            raise ProxyUnavailable(
                f"no connection to the proxy at {self._url}: {exc or type(exc).__name__}",
                maybe_accepted=not is_refused,
            ) from exc
        except httpx.HTTPError as exc:
            # The request may have been read: only the same message id makes it safe to submit again.
            said = "" if isinstance(exc, httpx.LocalProtocolError) else f" {exc}"
            raise ProxyUnavailable(
                f"no answer from the proxy at {self._url}: {type(exc).__name__}{said}".rstrip()
            ) from exc

    def close(self) -> None:
        """Close the pooled connections."""
        self._http.close()


def _read(response: httpx.Response) -> tuple[bytes, str | None, bool]:
    """The body, why it is not there, and whether for its length: by its status the answer still says something."""
    if response.status_code >= 500:
        # The status says all. genro-mail-proxy closes the connection after an error of its own, without a word: what is
        # not read to its end is not used again, and the next call does not fail.
        return b"", None, False
    coding = response.headers.get("content-encoding", "").strip().lower()
    if coding not in ("", "identity"):
        return b"", "compressed, though no compression was asked for", False
    content = bytearray()
    for part in response.iter_bytes():
        content += part
        if len(content) > MAX_ANSWER_BYTES:
            return b"", f"more than {MAX_ANSWER_BYTES} bytes long", True
    return bytes(content), None, False


def _client(server: ServerSettings, transport: httpx.BaseTransport | None) -> httpx.Client:
    verify = _tls(server)
    # A compressed answer has no size until it is decoded.
    headers = {"Accept-Encoding": "identity"}
    if server.token:
        headers["X-API-Token"] = server.token
    try:
        return httpx.Client(
            base_url=server.url,
            headers=headers,
            timeout=httpx.Timeout(server.timeout_seconds, connect=min(_CONNECT_SECONDS, server.timeout_seconds)),
            verify=verify or True,
            trust_env=server.trust_env,
            transport=transport,
        )
    except httpx.InvalidURL as exc:
        if not server.trust_env:
            raise ConfigurationError(f"{_setting(server, 'url')} must be a URL, got {server.url!r}: {exc}.") from exc
        raise _bad_environment(server, exc) from None
    except Exception as exc:
        if not server.trust_env:
            raise
        raise _bad_environment(server, exc) from None


def _bad_environment(server: ServerSettings, exc: Exception) -> ConfigurationError:
    # Not what it says: it may quote the variable, and a proxy's URL may hold a password.
    return ConfigurationError(
        f"{_setting(server, 'trust_env')} is True, and the environment (HTTP_PROXY, HTTPS_PROXY, ALL_PROXY, NO_PROXY, "
        f"SSL_CERT_FILE, SSL_CERT_DIR) makes no client of httpx: {type(exc).__name__}. Correct these variables (SOCKS "
        "needs httpx[socks]), or set it to False."
    )


def _tls(server: ServerSettings) -> ssl.SSLContext | None:
    """What the files of the settings make; None where there are none, and httpx trusts the public authorities."""
    if server.ca_file is None and server.client_cert is None:
        return None
    if server.ca_file is not None:
        context = _trusting(server, server.ca_file)
    else:
        try:
            context = httpx.create_ssl_context(trust_env=server.trust_env)
        except OSError as exc:
            raise _bad_environment(server, exc) from None
    if server.client_cert is not None:
        _present(context, server, server.client_cert)
    return context


def _trusting(server: ServerSettings, path: str) -> ssl.SSLContext:
    key = _setting(server, "ca_file")
    _check_readable(key, path)
    try:
        return ssl.create_default_context(cafile=path)
    except OSError as exc:
        raise ConfigurationError(f"{key} must name a file of certificates in PEM form, got {path!r}: {exc}.") from exc


def _present(context: ssl.SSLContext, server: ServerSettings, paths: tuple[str, ...]) -> None:
    key = _setting(server, "client_cert")
    for path in paths:
        _check_readable(key, path)

    def refuse() -> str:
        # OpenSSL would ask at the terminal.
        raise ConfigurationError(f"{key} must have a private key without a passphrase, got {paths[-1]!r}.")

    try:
        context.load_cert_chain(paths[0], paths[1] if len(paths) > 1 else None, password=refuse)
    except OSError as exc:
        raise ConfigurationError(
            f"{key} must name a certificate in PEM form and its private key, in one file or two, got "
            f"{', '.join(map(repr, paths))}: {exc}."
        ) from exc


def _check_readable(key: str, path: str) -> None:
    try:
        with Path(path).open("rb"):
            pass
    except (OSError, ValueError) as exc:
        problem = getattr(exc, "strerror", None) or exc
        raise ConfigurationError(f"{key} must name a file that can be read, got {path!r}: {problem}.") from exc


def _setting(server: ServerSettings, name: str) -> str:
    return f"mail_proxy_{name} (of the server {server.name!r})"
