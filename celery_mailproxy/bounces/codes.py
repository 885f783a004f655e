"""Hard or soft: from enhanced status codes (RFC 3463, RFC 5248), SMTP replies (RFC 5321) and what servers write.

A bounce is *hard* where it says that the address itself is no good. It is *soft* where another mail may arrive: the
mailbox is full, the server away, or this mail refused for its content, its sender or its way. Where nothing says which,
it is neither: an address should not be given up on a guess.
"""

from __future__ import annotations

import re

from .notice import BounceType
from .phrases import is_about_address, is_about_domain, is_about_now, is_about_policy, is_about_sender, is_about_space

__all__ = ["bounce_type_of", "enhanced_code", "reply_code"]

_ENHANCED = re.compile(r"(?<![\d.])([245]\.\d{1,3}\.\d{1,3})(?![\d.]*\d)")
#: Not every number from 400 on: those that servers use.
_REPLY = re.compile(r"(?<![\d./-])(4[2-57]\d|5[0-57]\d)(?=[ \-:,#]|$)", re.MULTILINE)

#: Statuses that concern the address, whatever is written beside them.
_HARD = frozenset({"5.1.1", "5.1.2", "5.1.3", "5.1.4", "5.1.6", "5.1.10", "5.2.1"})

#: Statuses of a subject (RFC 3463, 2.) that leave it open: the text, and then the reply's code, has to tell.
_VAGUE = frozenset({"5.0.0", "5.1.0", "5.2.0", "5.3.0", "5.4.1", "5.5.0", "5.7.0", "5.7.1"})

#: No route to the domain: it does not exist, or takes no mail. The last is Microsoft's.
_NO_DOMAIN = frozenset({"5.4.4", "5.4.310"})

#: Replies that concern the address: not local, no valid name, takes no mail (RFC 7504).
_HARD_REPLIES = frozenset({"521", "551", "553", "556"})


def enhanced_code(text: str) -> str | None:
    """The first enhanced status code in a text that says more than `5.0.0`; else that; else None."""
    codes = [code for code in _ENHANCED.findall(text) if not code.startswith("2")]
    return next((code for code in codes if not code.endswith(".0.0")), codes[0] if codes else None)


def reply_code(text: str) -> str | None:
    """The first reply code of SMTP in a text, if any."""
    match = _REPLY.search(text)
    return match[1] if match else None


def bounce_type_of(status: str | None, reply: str | None, text: str) -> BounceType:
    """What kind of bounce it is, by its enhanced status, its reply code and the text beside them."""
    if (status or reply or "").startswith("4"):
        # Some servers keep asking for a domain that is not there.
        return "hard" if status == "4.0.0" and is_about_domain(text) else "soft"
    if status in _HARD:
        # Some servers have one code for all that is wrong with a mailbox.
        is_full = is_about_space(text) and (status == "5.2.1" or not is_about_address(text))
        return "soft" if is_full else "hard"
    if status in _NO_DOMAIN:
        return "hard"
    if status is not None and status not in _VAGUE:
        # Full (5.2.2), too large (5.2.3, 5.3.4), expired (5.4.7), loops (5.4.6), content (5.6), policy (5.7) …
        return "soft"
    return _by_text(text) or _by_reply(reply, status)


def _by_text(text: str) -> BounceType:
    if is_about_space(text) or is_about_sender(text) or is_about_now(text):
        return "soft"
    if is_about_address(text):
        return "hard"
    return "soft" if is_about_policy(text) else None


def _by_reply(reply: str | None, status: str | None) -> BounceType:
    if status is not None and status.startswith("5.7"):
        return "soft"
    if reply in _HARD_REPLIES:
        return "hard"
    # 550 stands for a missing mailbox as well as for a policy, 554 for everything.
    return "soft" if reply == "552" else None
