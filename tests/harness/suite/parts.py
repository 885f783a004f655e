"""What runs side by side: each part is a pytest run of its own, so that none that fails hides another."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["FULL", "PARTS", "Part", "chosen"]

#: What `make test` leaves out is run as well.
FULL = "--full"

_CORES = os.cpu_count() or 2


@dataclass(frozen=True, kw_only=True)
class Part:
    """Some folders of tests, and how many processes run them."""

    name: str
    folders: tuple[str, ...]
    processes: int = 0
    options: tuple[str, ...] = ()
    #: It measures, or has no time to spare: beside anything else it would find that, too.
    is_alone: bool = False
    is_full_only: bool = False
    #: Its processes share a RabbitMQ node with those of other parts.
    shares_rabbit: bool = False

    def arguments(self, paths: Sequence[str]) -> list[str]:
        """For pytest, to run these paths, or else all of it."""
        spread = ["-n", str(self.processes), "--dist", "loadfile", "--no-loadscope-reorder"] if self.processes else []
        return [*(paths or self.folders), *self.options, *spread]

    def holds(self, path: str) -> bool:
        return any(f"{path}/".startswith(f"{folder}/") for folder in self.folders)


#: The longest first. Stacks wait most of their time, and so do more of them than there are cores; what computes gets
#: one process for each core. Django's tests are a run of their own: once Django is configured, settings come from it.
PARTS = (
    Part(name="integration", folders=("tests/integration",), processes=4 * _CORES, shares_rabbit=True),
    Part(
        name="django",
        folders=("tests/django",),
        options=("--ds", "tests.django.settings"),
        processes=_CORES,
        shares_rabbit=True,
    ),
    Part(name="units", folders=("tests/unit", "tests/contract", "tests/type_tests"), processes=_CORES),
    Part(name="benchmarks", folders=("tests/benchmarks",), options=("-s",), is_alone=True, is_full_only=True),
    Part(name="chaos", folders=("tests/chaos",), options=("-s",), is_alone=True, is_full_only=True),
)


def chosen(parts: Sequence[Part], arguments: Sequence[str]) -> list[tuple[Part, list[str]]]:
    """The parts to run, each with pytest's arguments; paths among the given ones choose the parts that hold them."""
    paths = [each for each in arguments if each.startswith("tests/")]
    others = [each for each in arguments if each not in paths]
    found = []
    for part in parts:
        mine = [path for path in paths if part.holds(path.partition("::")[0].rstrip("/"))]
        if mine or not (paths or (part.is_full_only and FULL not in arguments)):
            found.append((part, [*part.arguments(mine), *others]))
    return found
