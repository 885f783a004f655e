"""What a judge finds: which rule was broken, or which exception to it applied, and by which mail or item."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from enum import Enum

__all__ = ["Finding", "Rule", "Verdict"]


class Rule(str, Enum):
    """What a finding is about. The value is its name in the report."""

    LOST = "mail lost"
    DOUBLED = "mail doubled by us"
    NOT_ENDED = "delivery not ended"
    ENDED_WRONG = "delivery ended otherwise than its mail"
    SIGNAL_LOST = "signal not dispatched"
    SIGNAL_TWICE = "signal dispatched twice"
    CALLBACK_LOST = "callback not dispatched"
    CALLBACK_TWICE = "callback dispatched twice"
    CHAIN_STUCK = "chain not ended"
    CHAIN_TWICE = "chain continued twice"
    CHORD_STUCK = "chord not ended"
    CHORD_TWICE = "chord ended twice"
    CHORD_WRONG = "chord's body got another outcome than the mail's"

    #: Exceptions: what nobody, or not we, can promise.
    BROKER_LOST = "task of the application lost by Redis"
    PROXY_LOST = "mail given up by the proxy"
    PROXY_DOUBLED = "mail doubled by the proxy"
    DIED_WITHIN = "dispatched again, after a worker died in the midst"
    RUN_AGAIN = "task given out again by the broker, or run again after its worker died"

    def __str__(self) -> str:
        return self.value

    @property
    def is_exception(self) -> bool:
        return self in _EXCEPTIONS

    @property
    def may_pass(self) -> bool:
        """Whether it is a finding only once nothing is awaited any more."""
        return self in _MAY_PASS


_EXCEPTIONS = frozenset({Rule.BROKER_LOST, Rule.PROXY_LOST, Rule.PROXY_DOUBLED, Rule.DIED_WITHIN, Rule.RUN_AGAIN})

_MAY_PASS = frozenset(
    {Rule.LOST, Rule.SIGNAL_LOST, Rule.CALLBACK_LOST, Rule.CHAIN_STUCK, Rule.CHORD_STUCK, Rule.BROKER_LOST}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """`subject` is a mail (`mail 12`), an item (`item 3`) or a message id; `text` the evidence."""

    rule: Rule
    subject: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """All findings, and what was judged, by name: `{"mails accepted": 198, …}`."""

    findings: tuple[Finding, ...]
    counts: dict[str, int]

    @property
    def is_kept(self) -> bool:
        """Whether every promise was kept."""
        return all(finding.rule.is_exception for finding in self.findings)

    @property
    def awaited(self) -> list[Finding]:
        """What may come yet."""
        return [finding for finding in self.findings if finding.rule.may_pass]

    def number_of(self, rule: Rule) -> int:
        return Counter(finding.rule for finding in self.findings)[rule]
