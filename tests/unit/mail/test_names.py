"""What the modules of mail/ say about themselves."""

from __future__ import annotations

import pkgutil
from importlib import import_module

import pytest

from celery_mailproxy import mail


@pytest.mark.parametrize("name", [module.name for module in pkgutil.iter_modules(mail.__path__)])
def test_public_names_are_sorted(name: str) -> None:
    module = import_module(f"{mail.__name__}.{name}")
    assert module.__all__ == sorted(module.__all__)
