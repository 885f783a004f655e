"""What reading a setting's text depends on."""

from __future__ import annotations

import json

import pytest

from celery_mailproxy.conf.readers import address_list, callable_or_path, recipient_patterns
from celery_mailproxy.errors import ConfigurationError


@pytest.mark.parametrize("path", ["json:dumps", "json.dumps"])
def test_celery_still_imports_a_name_by_either_kind_of_path(path: str) -> None:
    """`symbol_by_name` is kombu's, and public in neither."""
    assert callable_or_path("mail_proxy_next_sync_after", path) is json.dumps


@pytest.mark.parametrize("value", ["qa@example.com, dev@example.com", ["qa@example.com", "dev@example.com"]])
def test_addresses_are_a_text_or_a_list(value: object) -> None:
    assert address_list("mail_proxy_redirect_to", value) == ("qa@example.com", "dev@example.com")


@pytest.mark.parametrize("value", ["", [], ["qa@example.com", ""], "qa", "@example.com", "QA <qa@example.com>", 7])
def test_what_is_no_address_is_refused(value: object) -> None:
    """An empty text, too: whoever unsets a variable must not send to everybody."""
    with pytest.raises(ConfigurationError, match="mail_proxy_redirect_to must"):
        address_list("mail_proxy_redirect_to", value)


def test_patterns_are_addresses_and_domains_in_any_case() -> None:
    value = ["@Example.com", "QA@lab.example"]
    assert recipient_patterns("mail_proxy_allowed_recipients", value) == ("@example.com", "qa@lab.example")


@pytest.mark.parametrize("value", ["", [], "example.com", "*@example.com", "a@b@c", "qa@", {"@example.com": True}])
def test_what_is_no_pattern_is_refused(value: object) -> None:
    with pytest.raises(ConfigurationError, match="mail_proxy_allowed_recipients must"):
        recipient_patterns("mail_proxy_allowed_recipients", value)
