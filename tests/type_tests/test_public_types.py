"""The public types are held: every public name and attribute, and that mypy refuses what is wrong.

`make types` reads the modules beside this one, too. Here a second look makes sure that they leave nothing out.
"""

from __future__ import annotations

import ast
import enum
import inspect
import os
import re
import subprocess
import sys
from dataclasses import fields, is_dataclass
from pathlib import Path

import pytest

import celery_mailproxy

ROOT = Path(__file__).parents[2]
RIGHT = [Path(__file__).with_name(name) for name in ("public_types.py", "public_errors.py")]
WRONG = Path(__file__).with_name("wrong_uses.py")

#: All that is said of the public types.
SAID = ast.parse("\n".join(path.read_text() for path in RIGHT))

CLASSES = [
    value
    for name in celery_mailproxy.__all__
    if isinstance(value := getattr(celery_mailproxy, name), type) and value is not celery_mailproxy.MailProxyError
]

_IGNORE = re.compile(r"  # type: ignore\[([a-z, -]+)\]")
_ERROR = re.compile(r"^(.+?):(\d+): error: .*\[([a-z-]+)\]$")


def attributes_of(cls: type) -> set[str]:
    """The public attributes of a class of ours: those it defines, its fields, and what its errors take and keep."""
    own = [each for each in cls.__mro__ if each.__module__.startswith("celery_mailproxy")]
    names = {name for each in own for name in vars(each)}
    if is_dataclass(cls):
        names |= {field.name for field in fields(cls)}
    if issubclass(cls, Exception):
        names |= {name for each in own if "__init__" in vars(each) for name in inspect.signature(each).parameters}
    if issubclass(cls, enum.Enum):
        names |= {"value"}
    return {name for name in names if not name.startswith("_")}


def attributes_read(tree: ast.AST, name: str) -> set[str]:
    """What the code reads of the object of that name."""
    return {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == name
    }


def functions_by_class() -> dict[str, ast.FunctionDef]:
    """The functions with those types, by the annotation of their first argument."""
    return {
        ast.unparse(function.args.args[0].annotation or ast.Constant(None)): function
        for function in SAID.body
        if isinstance(function, ast.FunctionDef) and function.args.args
    }


def test_every_public_name_is_used() -> None:
    loaded = {node.id for node in ast.walk(SAID) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}
    assert set(celery_mailproxy.__all__) - loaded == set()


def test_every_signal_is_used() -> None:
    used = attributes_read(SAID, "signals")
    assert set(celery_mailproxy.signals.__all__) - used == set()


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_every_attribute_of_a_public_class_has_its_type_said(cls: type) -> None:
    if attributes := attributes_of(cls) - attributes_of(cls.__mro__[1]):
        function = functions_by_class()[cls.__name__]
        assert attributes - attributes_read(function, function.args.args[0].arg) == set()
    else:
        assert issubclass(cls, celery_mailproxy.MailProxyError), "a class without an attribute of its own"


def test_mypy_takes_the_right_uses_and_refuses_each_wrong_one(tmp_path: Path) -> None:
    lines = WRONG.read_text().splitlines()
    bare = tmp_path / "bare.py"
    bare.write_text("".join(f"{_IGNORE.sub('', line)}\n" for line in lines))
    expected = {
        (str(bare), number, code)
        for number, line in enumerate(lines, 1)
        if (match := _IGNORE.search(line))
        for code in match[1].split(", ")
    }
    assert len(expected) > 30
    # Celery has no types, and a user's mypy reads neither our plugin nor our settings.
    command = ["--strict", "--config-file=", "--ignore-missing-imports", "--follow-imports=silent"]
    command += ["--python-version=3.10", f"--cache-dir={os.devnull}", "--no-pretty", "--no-error-summary"]
    done = subprocess.run(
        [sys.executable, "-m", "mypy", *command, *map(str, RIGHT), str(bare)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    errors = {(match[1], int(match[2]), match[3]) for line in done.stdout.splitlines() if (match := _ERROR.match(line))}
    assert errors == expected, done.stdout
    assert done.returncode == 1
