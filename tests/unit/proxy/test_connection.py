"""The connection to a proxy, against servers that are slow, endless, half-dead, or not HTTP at all."""

from __future__ import annotations

import json
import ssl
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme

from celery_mailproxy.conf.settings import ServerSettings
from celery_mailproxy.errors import ConfigurationError, ProxyUnavailable
from celery_mailproxy.proxy import connection as connection_module
from celery_mailproxy.proxy.client import ProxyClient
from celery_mailproxy.proxy.connection import Connection
from tests.harness.raw_server import RawServer, answer

OK = {"ok": True, "queued": 1, "rejected": []}
PASSPHRASE = b"secret"


def settings(url: str, **fields: Any) -> ServerSettings:
    return ServerSettings(**{"name": "default", "url": url, "api": "entities", "timeout_seconds": 30.0, **fields})


def submitted(url: str, content: str = "", **fields: Any) -> Any:
    client = ProxyClient(settings(url, **fields))
    try:
        return client.submit([{"id": "m1", "body": content}]).accepted
    finally:
        client.close()


def dripping(server: list[RawServer], whole: bytes) -> Iterator[bytes]:
    """One byte now and then: each within the time-out of a read, all of them in some ten seconds, and in the end OK."""
    for index in range(len(whole)):
        yield whole[index : index + 1]
        server[0].pause(10 / len(whole))


def test_an_answer_that_comes_in_time_is_read() -> None:
    with RawServer(lambda request: [answer(OK)]) as server:
        assert submitted(server.url) == ("m1",)


@pytest.mark.parametrize("what", ["status line", "headers", "body", "informational answers"])
def test_an_answer_that_comes_byte_by_byte_is_cut(what: str) -> None:
    servers: list[RawServer] = []

    def script(request: bytes) -> Iterable[bytes]:
        whole = answer(OK, *[f"X-{n}: n" for n in range(10)])
        at = {"status line": 0, "headers": 20, "body": whole.index(b"\r\n\r\n") + 4}.get(what)
        if at is None:
            for _ in range(20):
                yield b"HTTP/1.1 103 Early Hints\r\n\r\n"
                servers[0].pause(0.5)
            yield whole
            return
        yield whole[:at]
        yield from dripping(servers, whole[at:])

    with RawServer(script) as server:
        servers.append(server)
        with pytest.raises(ProxyUnavailable) as caught:
            submitted(server.url, timeout_seconds=1.0)
    assert caught.value.maybe_accepted


def test_a_server_that_reads_byte_by_byte_is_cut() -> None:
    with RawServer(lambda request: None, reads=False) as server, pytest.raises(ProxyUnavailable) as caught:
        submitted(server.url, content="x" * 50_000_000, timeout_seconds=1.0)
    assert caught.value.maybe_accepted


def test_a_large_mail_comes_whole() -> None:
    content = "".join(chr(65 + n % 26) for n in range(3_000_000))
    with RawServer(lambda request: [answer(OK)]) as server:
        assert submitted(server.url, content=content) == ("m1",)
        body = server.requests[0].partition(b"\r\n\r\n")[2]
    assert json.loads(body)["messages"][0]["body"] == content


def test_an_answer_without_end_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_module, "MAX_ANSWER_BYTES", 1_000_000)

    def script(request: bytes) -> Iterable[bytes]:
        yield b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        while True:
            yield b"10000\r\n" + b" " * 0x10000 + b"\r\n"

    with RawServer(script) as server, pytest.raises(ProxyUnavailable, match="more than 1000000 bytes") as caught:
        submitted(server.url)
    assert (caught.value.status, caught.value.maybe_accepted) == (200, True)


@pytest.mark.parametrize(
    "whole",
    [
        answer(b"no gzip", "Content-Encoding: gzip"),
        answer(b"no br", "Content-Encoding: br"),
        answer(json.dumps(OK).encode()[:20]),
        answer(json.dumps(OK).encode(), length=100),
        answer(b"[" * 100_000),
        answer(b"\xff\xfe\x00"),
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcde",
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"\x00" * 10,
        b"",
    ],
    ids=["gzip", "br", "half JSON", "cut off", "deep", "no UTF-8", "two lengths", "SSH", "zeros", "nothing"],
)
def test_an_answer_that_is_none_is_trouble_that_passes(whole: bytes) -> None:
    def script(request: bytes) -> Iterator[bytes]:
        yield whole
        # Whatever was announced, there is no more.
        raise ConnectionResetError

    with RawServer(script) as server, pytest.raises(ProxyUnavailable) as caught:
        submitted(server.url)
    assert caught.value.remedy is None
    assert caught.value.maybe_accepted


def test_a_redirect_to_nowhere_is_a_redirect() -> None:
    redirect = answer(b"", "Location: http://[", status="302 Found")
    with (
        RawServer(lambda request: [redirect]) as server,
        pytest.raises(ProxyUnavailable, match="Set mail_proxy_url") as caught,
    ):
        submitted(server.url)
    assert not caught.value.maybe_accepted


def test_the_connection_is_kept_from_one_call_to_the_next() -> None:
    with RawServer(lambda request: [answer(OK)]) as server:
        client = ProxyClient(settings(server.url))
        for _ in range(5):
            client.submit([{"id": "m1"}])
        client.close()
        assert len(server.requests) == 5
        assert len(server._connections) == 1


@pytest.mark.parametrize("body", [b"", b"Internal Server Error"])
def test_a_connection_is_not_used_again_after_an_error_of_the_server(body: bytes) -> None:
    answers = [answer(body, status="500 Internal Server Error"), answer(OK)]
    with RawServer(lambda request: [answers.pop(0)]) as server:
        client = ProxyClient(settings(server.url))
        with pytest.raises(ProxyUnavailable):
            client.submit([{"id": "m1"}])
        assert client.submit([{"id": "m1"}]).accepted == ("m1",)
        client.close()
        assert len(server._connections) == 2


def test_no_compressed_answer_is_asked_for() -> None:
    with RawServer(lambda request: [answer(OK)]) as server:
        submitted(server.url)
    assert b"accept-encoding: identity" in server.requests[0].lower()


# The environment


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    return monkeypatch


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "ALL_PROXY"])
def test_a_proxy_of_the_environment_gets_nothing_unless_it_is_trusted(
    environment: pytest.MonkeyPatch, variable: str
) -> None:
    with RawServer(lambda request: [answer(OK)]) as proxy, RawServer(lambda request: [answer(OK)]) as gateway:
        environment.setenv(variable, gateway.url)
        assert submitted(proxy.url, token="t0ken") == ("m1",)
        assert (len(proxy.requests), gateway.requests) == (1, [])
        assert submitted(proxy.url, token="t0ken", trust_env=True) == ("m1",)
        assert (len(proxy.requests), len(gateway.requests)) == (1, 1)
        environment.setenv("NO_PROXY", "127.0.0.1")
        submitted(proxy.url, trust_env=True)
        assert (len(proxy.requests), len(gateway.requests)) == (2, 1)


def test_an_answer_through_a_proxy_of_the_environment_is_cut_too(environment: pytest.MonkeyPatch) -> None:
    servers: list[RawServer] = []
    with RawServer(lambda request: dripping(servers, answer(OK))) as gateway:
        servers.append(gateway)
        environment.setenv("HTTP_PROXY", gateway.url)
        with pytest.raises(ProxyUnavailable):
            submitted("http://proxy.example:8000", trust_env=True, timeout_seconds=1.0)


def test_a_login_in_netrc_is_not_used(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password secret\n")
    environment.setenv("NETRC", str(tmp_path / "netrc"))
    with RawServer(lambda request: [answer(OK)]) as server:
        submitted(server.url)
        submitted(server.url, trust_env=True)
    assert not any(b"authorization" in request.lower() for request in server.requests)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("ALL_PROXY", "socks5://me:s3cret@127.0.0.1:1080"),
        ("HTTP_PROXY", "http://me:s3cret@[::1"),
        ("HTTP_PROXY", "gopher://me:s3cret@127.0.0.1"),
        ("SSL_CERT_FILE", "s3cret.pem"),
    ],
)
def test_an_environment_that_makes_no_client_is_a_setting_to_correct(
    environment: pytest.MonkeyPatch, variable: str, value: str, tmp_path: Path
) -> None:
    (tmp_path / "s3cret.pem").write_text("no certificate")
    environment.setenv(variable, str(tmp_path / value) if variable == "SSL_CERT_FILE" else value)
    with pytest.raises(ConfigurationError, match="mail_proxy_trust_env") as caught:
        Connection(settings("http://127.0.0.1:1", trust_env=True))
    assert "s3cret" not in str(caught.value)
    # Untrusted, it does no harm.
    Connection(settings("http://127.0.0.1:1")).close()


# Certificates


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def files(authority: trustme.CA, tmp_path: Path) -> Path:
    """ca.pem, and of a client: certificate.pem, key.pem, both.pem, and locked.pem with a passphrase."""
    from cryptography.hazmat.primitives import serialization

    client = authority.issue_cert("client@example.com")
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    certificate, key = client.cert_chain_pems[0].bytes(), client.private_key_pem.bytes()
    (tmp_path / "certificate.pem").write_bytes(certificate)
    (tmp_path / "key.pem").write_bytes(key)
    (tmp_path / "both.pem").write_bytes(certificate + key)
    locked = serialization.load_pem_private_key(key, None).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(PASSPHRASE),
    )
    (tmp_path / "locked.pem").write_bytes(locked)
    (tmp_path / "another.pem").write_bytes(authority.issue_cert("other@example.com").private_key_pem.bytes())
    (tmp_path / "text.pem").write_text("no certificate")
    return tmp_path


@pytest.fixture
def secured(authority: trustme.CA) -> Iterator[RawServer]:
    """A server that asks each client for a certificate of the authority."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    authority.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    with RawServer(lambda request: [answer(OK)], tls=context) as server:
        yield server


@pytest.mark.parametrize("names", [("both.pem",), ("certificate.pem", "key.pem")])
def test_a_client_certificate_is_shown(secured: RawServer, files: Path, names: tuple[str, ...]) -> None:
    cert = tuple(str(files / name) for name in names)
    assert submitted(secured.url, ca_file=str(files / "ca.pem"), client_cert=cert) == ("m1",)


def test_without_its_certificate_a_client_is_refused_and_the_mail_waits(secured: RawServer, files: Path) -> None:
    with pytest.raises(ProxyUnavailable):
        submitted(secured.url, ca_file=str(files / "ca.pem"))
    assert secured.requests == []


def test_a_server_of_an_unknown_authority_is_refused(secured: RawServer, files: Path) -> None:
    with pytest.raises(ProxyUnavailable, match="no connection") as caught:
        submitted(secured.url, client_cert=(str(files / "both.pem"),))
    assert not caught.value.maybe_accepted


def test_an_answer_over_tls_is_cut_too(authority: trustme.CA, files: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    servers: list[RawServer] = []
    with RawServer(lambda request: dripping(servers, answer(OK)), tls=context) as server:
        servers.append(server)
        with pytest.raises(ProxyUnavailable):
            submitted(server.url, ca_file=str(files / "ca.pem"), timeout_seconds=1.0)


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"ca_file": "nowhere.pem"}, "mail_proxy_ca_file .*must name a file that can be read.*nowhere.pem"),
        ({"ca_file": "text.pem"}, "mail_proxy_ca_file .*PEM form"),
        ({"ca_file": "."}, "mail_proxy_ca_file .*can be read"),
        ({"client_cert": ["nowhere.pem"]}, "mail_proxy_client_cert .*can be read.*nowhere.pem"),
        ({"client_cert": ["certificate.pem", "nowhere.pem"]}, "mail_proxy_client_cert .*can be read.*nowhere.pem"),
        ({"client_cert": ["certificate.pem"]}, "mail_proxy_client_cert .*private key"),
        ({"client_cert": ["certificate.pem", "another.pem"]}, "mail_proxy_client_cert .*private key"),
        ({"client_cert": ["certificate.pem", "locked.pem"]}, "mail_proxy_client_cert .*without a passphrase"),
        ({"client_cert": ["a\0b.pem"]}, "mail_proxy_client_cert .*can be read"),
    ],
)
def test_files_that_are_none_are_a_setting_to_correct(files: Path, fields: dict[str, Any], problem: str) -> None:
    given = {
        name: str(files / value) if isinstance(value, str) else tuple(str(files / each) for each in value)
        for name, value in fields.items()
    }
    with pytest.raises(ConfigurationError, match=problem):
        Connection(settings("https://localhost:1", **given))
