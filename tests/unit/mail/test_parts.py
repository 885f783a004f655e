"""What building MIME parts depends on."""

from __future__ import annotations

from email import message_from_string, policy
from email.message import MIMEPart


def test_email_still_writes_the_source_of_a_header_as_it_stands() -> None:
    """`set_raw` and `raw_items` are in no documentation; without them the package folds every header itself."""
    source = "=?utf-8?q?=C3=A9?= " + "x" * 50
    part = MIMEPart(policy=policy.default.clone(max_line_length=78, linesep="\n"))
    part.set_raw("X-A", f"a\n {source}")
    assert part.as_bytes() == f"X-A: a\n {source}\n\n".encode(), "Message.set_raw folds what it is given"
    parsed = message_from_string(part.as_string(), policy=policy.compat32)
    assert list(parsed.raw_items()) == [("X-A", f"a\n {source}")], "Message.raw_items changes what it gives"
