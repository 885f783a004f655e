"""The report of a run, for people."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from .configuration import Configuration
from .evidence import Evidence
from .recovery import Recovery
from .verdict import Finding, Rule, Verdict

__all__ = ["report"]

#: More findings of one rule than this say nothing new.
_SHOWN = 12


def report(
    configuration: Configuration,
    verdict: Verdict,
    recoveries: Sequence[Recovery],
    evidence: Evidence,
    *,
    seconds: float,
) -> str:
    """What was done, what it did, what was found, and how long the recovery took."""
    return "\n".join(
        [
            *_head(configuration, verdict, evidence, seconds=seconds),
            "",
            *_table(recoveries),
            "",
            *_findings(verdict, evidence),
        ]
    )


def _head(configuration: Configuration, verdict: Verdict, evidence: Evidence, *, seconds: float) -> Iterator[str]:
    state = "kept" if verdict.is_kept else "BROKEN"
    yield (
        f"chaos {configuration.broker} + {configuration.api}, seed {configuration.seed}: {state}, "
        f"{len(evidence.faults)} faults, {seconds:.0f} s"
    )
    yield from (f"  {number:6} {name}" for name, number in verdict.counts.items())
    for rule in Rule:
        number = verdict.number_of(rule)
        if number or not rule.is_exception:
            yield f"  {number:6} {rule}" + (" (an exception)" if rule.is_exception else "")


def _table(recoveries: Sequence[Recovery]) -> Iterator[str]:
    yield f"  {'fault':32} {'times':>5} {'flows after':>12} {'caught up':>10}   (the longest, in seconds)"
    for each in recoveries:
        yield f"  {each.kind:32} {each.number:5} {_shown(each.flows_after):>12} {_shown(each.caught_up_after):>10}"


def _shown(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds:.1f}"


def _findings(verdict: Verdict, evidence: Evidence) -> Iterator[str]:
    for rule in Rule:
        findings = [finding for finding in verdict.findings if finding.rule is rule]
        yield from (_line(finding) for finding in findings[:_SHOWN])
        if len(findings) > _SHOWN:
            yield f"  … {len(findings) - _SHOWN} more: {rule}"
    yield from (f"  mishap: {mishap}" for mishap in evidence.mishaps)


def _line(finding: Finding) -> str:
    return f"  {finding.rule}: {finding.subject}: {finding.text}"
