"""What is said of a link."""

from __future__ import annotations

from celery_mailproxy.cli.check.links import fine, hide_secrets


def test_secrets_that_others_quote_are_blotted_out() -> None:
    hidden = hide_secrets(fine("x", "Error near 'tok-12345'"), {"tok-12345", "e"})
    assert hidden.found == "Error near '***'"
