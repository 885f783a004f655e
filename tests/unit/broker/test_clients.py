"""What to install is named where the client of a broker is missing."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery

from celery_mailproxy.broker.clients import check_client, missing_client
from celery_mailproxy.errors import ConfigurationError


def missing(problem: ImportError) -> Any:
    """An app the client of whose broker cannot be imported."""

    def import_it() -> None:
        raise problem

    return SimpleNamespace(connection_for_write=lambda: SimpleNamespace(get_transport_cls=import_it))


@pytest.mark.parametrize(
    ("problem", "module"),
    [
        (ModuleNotFoundError("No module named 'packaging'", name="packaging"), "packaging"),
        (ModuleNotFoundError("No module named 'redis.asyncio'", name="redis.asyncio"), "redis"),
        (ImportError("Missing redis library (pip install redis)"), "redis"),
    ],
)
def test_what_is_missing_for_redis_is_named_with_the_extra(problem: ImportError, module: str) -> None:
    with pytest.raises(
        ConfigurationError, match=rf"needs {module}, .* pip install \"celery-mailproxy\[redis\]\""
    ) as caught:
        check_client(missing(problem))
    assert caught.value.__cause__ is problem


def test_any_other_module_is_not_ours_to_explain() -> None:
    assert missing_client(ModuleNotFoundError("No module named 'shop'", name="shop")) is None
    check_client(missing(ModuleNotFoundError("No module named 'boto3'", name="boto3")))


@pytest.mark.parametrize("url", ["memory://", "redis://127.0.0.1:9", "amqp://127.0.0.1:9"])
def test_nothing_is_connected_to_find_out(url: str) -> None:
    check_client(Celery("clients", broker=url, set_as_current=False))
