"""What the deadline of a call depends on in httpx and httpcore. A release that does otherwise fails here."""

from __future__ import annotations

import httpcore
import httpx
import pytest

from celery_mailproxy.proxy.deadline import bound, within


def test_httpx_still_keeps_its_network_backends_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "")
    with httpx.Client(trust_env=True) as plain:
        pools = [transport._pool for transport in (plain._transport, *plain._mounts.values()) if transport]  # type: ignore[attr-defined]
        assert len(pools) >= 2
        backends = [pool._network_backend for pool in pools]
        assert all(isinstance(each, httpcore.NetworkBackend) for each in backends)
        bound(plain)
        assert all(pool._network_backend is not each for pool, each in zip(pools, backends, strict=True))


def test_httpcore_still_raises_what_httpx_translates() -> None:
    with (
        bound(httpx.Client(trust_env=False)) as http,
        within(-1.0),
        pytest.raises(httpx.ConnectTimeout, match="the whole call took too long"),
    ):
        http.get("http://127.0.0.1:9")
