"""Send mail from Celery through genro-mail-proxy, and get its delivery reports back.

Importing the package does nothing: each public name is imported from its module when it is first used. Which names are
public is stated once, in `__init__.pyi`.
"""

from __future__ import annotations

import ast
from importlib import import_module
from pathlib import Path
from typing import Any


def _public_names() -> dict[str, str]:
    """Each public name, and the module that the stub imports it from: `{"Kind": ".deliveries.report"}`."""
    stub = ast.parse(Path(__file__).with_suffix(".pyi").read_text(encoding="utf-8"))
    imports = [node for node in stub.body if isinstance(node, ast.ImportFrom)]
    return {alias.name: f".{node.module or ''}" for node in imports for alias in node.names}


_MODULES = _public_names()

__all__ = sorted(_MODULES)


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = import_module(_MODULES[name], __name__)
    # `signals` is a module itself, which nothing may have imported yet.
    value = vars(module)[name] if name in vars(module) else import_module(f"{module.__name__}.{name}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return list(__all__)
