"""The public errors, as mypy sees them; see `public_types.py`."""

from __future__ import annotations

from typing_extensions import assert_type

from celery_mailproxy import (
    CancelSend,
    ConfigurationError,
    DeliveryCancelled,
    DeliveryError,
    DeliveryExpired,
    DeliverySuppressed,
    InvalidMessage,
    InvalidReport,
    MailProxyError,
    MessageIdInUse,
    MessageRejected,
    MessageTooLarge,
    ProxyRequestError,
    ProxyUnavailable,
    StoreError,
    UnforeseenError,
    UnsupportedMessage,
)


def errors_form_one_tree() -> None:
    tree: list[type[MailProxyError]] = [
        CancelSend,
        ConfigurationError,
        DeliveryError,
        InvalidMessage,
        InvalidReport,
        MessageIdInUse,
        MessageRejected,
        MessageTooLarge,
        ProxyRequestError,
        ProxyUnavailable,
        StoreError,
        UnforeseenError,
        UnsupportedMessage,
    ]
    value_errors: list[type[ValueError]] = [InvalidMessage, InvalidReport]
    invalid: type[InvalidMessage] = UnsupportedMessage
    root: type[Exception] = MailProxyError
    undelivered: list[type[DeliveryError]] = [DeliveryCancelled, DeliveryExpired, DeliverySuppressed]
    print(tree, value_errors, invalid, root, undelivered)


def cancel_send(error: CancelSend) -> None:
    CancelSend()
    CancelSend("unsubscribed")
    assert_type(error.reason, str)


def invalid_message(error: InvalidMessage) -> None:
    InvalidMessage("to", "must be a list")
    assert_type(error.argument, str)
    assert_type(error.problem, str)
    assert_type(error.redacted(), InvalidMessage)


def message_rejected(error: MessageRejected) -> None:
    MessageRejected("id", "account not found")
    assert_type(error.message_id, str)
    assert_type(error.reason, str)


def delivery_error(error: DeliveryError) -> None:
    DeliveryError(None, None, "id")
    assert_type(error.reason, str | None)
    assert_type(error.code, str | None)
    assert_type(error.message_id, str)


def message_too_large(error: MessageTooLarge) -> None:
    MessageTooLarge(2, 1)
    assert_type(error.size_bytes, int)
    assert_type(error.limit_bytes, int)


def proxy_request_error(error: ProxyRequestError) -> None:
    ProxyRequestError("no", 422)
    assert_type(error.problem, str)
    assert_type(error.status, int | None)


def proxy_unavailable(error: ProxyUnavailable) -> None:
    ProxyUnavailable("no", status=503, retry_after_seconds=30.0, maybe_accepted=False, remedy="Set it.")
    assert_type(error.problem, str)
    assert_type(error.status, int | None)
    assert_type(error.retry_after_seconds, float | None)
    assert_type(error.maybe_accepted, bool)
    assert_type(error.remedy, str | None)
