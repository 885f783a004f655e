"""The names of `celery_mailproxy.testing`."""

from __future__ import annotations

import pytest

from celery_mailproxy import testing


def test_names_of_the_package_are_sorted_and_all_there() -> None:
    assert sorted(testing.__all__) == testing.__all__
    assert all(getattr(testing, name) for name in testing.__all__)
    assert set(testing.__all__) <= set(dir(testing))
    with pytest.raises(AttributeError, match="no attribute 'Nope'"):
        _ = testing.Nope  # type: ignore[attr-defined]
