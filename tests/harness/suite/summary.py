"""What came of all parts, from their JUnit XML: each failure, what was skipped, and how long each part took."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

__all__ = ["Outcome", "show"]

_NOTHING_COLLECTED = 5
_SOME_FAILED = 1
#: A file that cannot be imported, or `-x`: the failure is in the report.
_INTERRUPTED = 2


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """A part that has ended."""

    part: str
    exit_code: int
    seconds: float
    log_path: Path
    report_path: Path


@dataclass(frozen=True, kw_only=True)
class _Failure:
    title: str
    text: str


class _Summary:
    def __init__(self) -> None:
        self.passed = 0
        self.failures: list[_Failure] = []
        self.skipped: Counter[str] = Counter()

    def add(self, outcome: Outcome, *, is_filtered: bool) -> None:
        before = len(self.failures)
        for case in _cases(outcome.report_path):
            self._add_case(outcome.part, case)
        is_empty = outcome.exit_code == _NOTHING_COLLECTED and is_filtered
        has_told = outcome.exit_code in (_SOME_FAILED, _INTERRUPTED) and len(self.failures) > before
        if outcome.exit_code and not (is_empty or has_told):
            last_lines = "\n".join(outcome.log_path.read_text(errors="replace").splitlines()[-60:])
            title = f"{outcome.part}: pytest ended with exit code {outcome.exit_code}"
            self.failures.append(_Failure(title=title, text=last_lines))

    def _add_case(self, part: str, case: ElementTree.Element) -> None:
        problems = [each for each in case if each.tag in ("failure", "error")]
        if (skipped := case.find("skipped")) is not None:
            # `ServiceMissing` says which service, and then how to install it.
            self.skipped[skipped.get("message", "").partition(" is not installed")[0]] += 1
        elif problems:
            texts = [each.text or "" for each in [*problems, *case.iter("system-out"), *case.iter("system-err")]]
            self.failures.append(_Failure(title=f"{part}: {_node_id(case)}", text="\n".join(texts)))
        else:
            self.passed += 1


def show(outcomes: Sequence[Outcome], *, is_filtered: bool) -> int:
    """Print it all, and return the exit code. Under a filter a part may have no tests."""
    summary = _Summary()
    for outcome in outcomes:
        summary.add(outcome, is_filtered=is_filtered)
    for failure in summary.failures:
        print(f"\n{'_' * 120}\n{failure.title}\n\n{failure.text.strip()}")
    print()
    for failure in summary.failures:
        print(f"FAILED {failure.title}")
    if summary.skipped:
        print("skipped: " + ", ".join(f"{reason} ({count} tests)" for reason, count in summary.skipped.most_common()))
    print("took: " + ", ".join(f"{each.part} {each.seconds:.0f} s" for each in outcomes))
    print(f"{summary.passed} passed, {len(summary.failures)} failed, {summary.skipped.total()} skipped")
    if summary.failures:
        return _SOME_FAILED
    return 0 if summary.passed or summary.skipped else _NOTHING_COLLECTED


def _cases(report_path: Path) -> Iterator[ElementTree.Element]:
    """None where pytest came to no end: its exit code tells."""
    if report_path.exists():
        yield from ElementTree.parse(report_path).iter("testcase")


def _node_id(case: ElementTree.Element) -> str:
    file, owner = case.get("file", ""), case.get("classname", "")
    module = file.removesuffix(".py").replace("/", ".")
    classes = owner.removeprefix(module).strip(".").split(".") if owner.startswith(module) else []
    return "::".join([file or owner, *filter(None, classes), case.get("name", "")])
