"""What trips to Redis depend on in redis-py."""

from __future__ import annotations

import inspect

import pytest
from redis.client import Pipeline
from redis.cluster import ClusterPipeline


@pytest.mark.parametrize("pipeline", [Pipeline, ClusterPipeline])
def test_redis_still_takes_any_command_in_a_pipeline(pipeline: type) -> None:
    """A cluster's pipeline has no methods for scripts, but sends them as commands; that is documented nowhere."""
    assert callable(pipeline.execute_command)  # type: ignore[attr-defined]
    execute = pipeline.execute  # type: ignore[attr-defined]
    assert "raise_on_error" in inspect.signature(execute).parameters, "errors of a pipeline cannot be told apart"
