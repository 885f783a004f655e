"""The servers and workers that the tests run, all on free ports of 127.0.0.1 and in folders of their own."""

from __future__ import annotations

from .celery_worker import CeleryWorker
from .rabbit_server import RabbitServer
from .redis_services import RedisCluster, RedisSentinel, RedisServer
from .server_process import ServerProcess, ServiceMissing

__all__ = [
    "CeleryWorker",
    "RabbitServer",
    "RedisCluster",
    "RedisSentinel",
    "RedisServer",
    "ServerProcess",
    "ServiceMissing",
]
