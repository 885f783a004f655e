"""What the way from a URL to a client depends on in redis-py."""

from __future__ import annotations

import pytest

from celery_mailproxy.deliveries.stores.redis.url import connect_redis
from celery_mailproxy.errors import ConfigurationError


@pytest.mark.parametrize("url", ["redis://localhost", "sentinel://one,two/mymaster"])
def test_redis_still_makes_a_connection_from_its_pool_s_class_and_options(url: str) -> None:
    """So an unknown option is found before the first connection; neither attribute is documented."""
    pool = connect_redis(url).connection_pool
    connection = pool.connection_class(**pool.connection_kwargs)
    assert callable(connection.connect), "connection_class makes something that does not connect"
    with pytest.raises(ConfigurationError, match="cannot be read"):
        connect_redis(f"{url}{'&' if '?' in url else '?'}no_such_option=1")
