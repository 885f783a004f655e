"""Which tests `make test` leaves out, and `make test-all` runs."""

from __future__ import annotations

import pytest

__all__ = ["is_full"]


def is_full(item: pytest.Item) -> bool:
    """Whether the test is marked as `full`, or is a variant that `full_with` names: one with all of its parameters."""
    if item.get_closest_marker("full"):
        return True
    variant = getattr(item, "callspec", None)
    parameters = {each for each in variant.params.values() if isinstance(each, str)} if variant else set()
    return any(parameters.issuperset(mark.args) for mark in item.iter_markers("full_with"))
