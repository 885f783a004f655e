"""`python -m tests.chaos`: one run, or several in a row; the exit code is 0 if every promise was kept."""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from .configuration import CONFIGURATIONS, Configuration
from .run import new_folder, run, temporary_place

__all__ = ["main"]


def main(arguments: Sequence[str]) -> int:
    # Whoever ends this ends all that it has started.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    given = _parser().parse_args(arguments)
    os.environ.setdefault("CELERY_MAILPROXY_CACHE", str(Path(__file__).parents[2] / ".cache" / "proxies"))
    os.environ["TMPDIR"] = tempfile.tempdir = temporary_place()
    broken = 0
    for configuration in _configurations(given):
        folder = new_folder(configuration)
        try:
            outcome = run(configuration, folder, tell=_tell)
        except KeyboardInterrupt:
            _tell(f"interrupted: all processes have been ended; ledger and logs: {folder}")
            return 130
        _tell(outcome.report)
        broken += not outcome.verdict.is_kept
        if outcome.verdict.is_kept and not given.keep:
            shutil.rmtree(folder)
        else:
            _tell(f"ledger and logs: {folder}")
    return 1 if broken else 0


def _configurations(given: argparse.Namespace) -> list[Configuration]:
    pairs = CONFIGURATIONS if given.all else [(given.broker, given.api)]
    return [
        Configuration(
            broker=broker, api=api, seed=seed, mails=given.mails, seconds=given.seconds, gap_seconds=given.gap
        )
        for broker, api in pairs
        for seed in range(given.seed, given.seed + given.seeds)
    ]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--broker", choices=("redis", "rabbitmq"), default="redis")
    parser.add_argument("--api", choices=("commands", "entities"), default="entities")
    parser.add_argument("--all", action="store_true", help="every broker with every API, one after another")
    parser.add_argument("--seed", type=int, default=int(os.environ.get("CHAOS_SEED") or 1))
    parser.add_argument("--seeds", type=int, default=1, help="so many seeds in a row")
    parser.add_argument("--mails", type=int, default=2000)
    parser.add_argument("--seconds", type=float, default=300.0, help="how long mails are sent and faults done")
    parser.add_argument("--gap", type=float, default=3.0, help="seconds between two faults, on average")
    parser.add_argument("--keep", action="store_true", help="keep ledger and logs of a good run, too")
    return parser


def _tell(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
