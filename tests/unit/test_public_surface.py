"""The public surface: what `celery_mailproxy/__init__.pyi` states is what the package gives, on demand."""

from __future__ import annotations

import subprocess
import sys

import pytest

import celery_mailproxy


def test_the_names_are_sorted_and_each_is_there_once() -> None:
    assert celery_mailproxy.__all__ == sorted(set(celery_mailproxy.__all__))
    assert {"send_via_proxy", "get_delivery", "signals", "__version__"} <= set(celery_mailproxy.__all__)


@pytest.mark.parametrize("name", celery_mailproxy.__all__)
def test_each_name_can_be_imported(name: str) -> None:
    assert getattr(celery_mailproxy, name) is not None


def test_dir_shows_the_surface_and_nothing_else() -> None:
    assert dir(celery_mailproxy) == celery_mailproxy.__all__


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'send_by_pigeon'"):
        celery_mailproxy.send_by_pigeon  # type: ignore[attr-defined]  # noqa: B018


def test_importing_the_package_imports_neither_celery_nor_its_rooms() -> None:
    code = "import sys, celery_mailproxy; print(sorted(m for m in sys.modules if m.startswith(('celery', 'httpx'))))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "['celery_mailproxy']"
