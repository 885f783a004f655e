"""`ReportReceiver`, asked directly: each route, each status, and what reaches `accept` and the log."""

from __future__ import annotations

import base64
import json
import logging
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from types import SimpleNamespace
from typing import Any

import pytest

from celery_mailproxy.conf.settings import UNSET
from celery_mailproxy.deliveries.report import Kind, utcnow
from celery_mailproxy.errors import ConfigurationError, MailProxyError
from celery_mailproxy.mail.attachment import Attachment
from celery_mailproxy.receiver import resolvers as resolvers_module
from celery_mailproxy.receiver.receiver import Admission, ReportReceiver, Request, Response
from celery_mailproxy.receiver.resolvers import AttachmentParams, ResolverRegistry, attachment_resolver

from .kept import Kept

SENT = {"id": "m1", "sent_ts": 1795324468, "error_ts": None, "error": None}
DEFERRED = {"id": "m2", "deferred_ts": 1795324470, "deferred_reason": "busy, says bob@example.com"}
BAD = {"id": "m3", "sent_at": "bob@example.com"}
UNTIMED = {"id": "m4", "error_ts": "bob@example.com", "error": "550 no such user"}


def post(*entries: Any, body: bytes | None = None, token: str = "secret", **changes: Any) -> Request:
    body = json.dumps({"delivery_report": entries}).encode() if body is None else body
    headers = {"content-type": "application/json", "authorization": f"Bearer {token}"}
    headers |= changes.pop("headers", {})
    return Request(**{"method": "POST", "path": "/mail-proxy/sync", "headers": headers, "body": body, **changes})


def ask(storage_path: Any = "invoice_id=7", **changes: Any) -> Request:
    return post(body=json.dumps({"storage_path": storage_path}).encode(), path="/mail-proxy/attachments", **changes)


def content(response: Response) -> Any:
    assert dict(response.headers)["Content-Type"] == "application/json"
    assert dict(response.headers)["Content-Length"] == str(len(response.body))
    return json.loads(response.body)


def problem(response: Response) -> tuple[int, str]:
    answer = content(response)
    assert answer["ok"] is False
    assert answer["detail"].endswith("."), "a sentence that says what is wrong"
    return response.status, answer["error"]


def admission(receiver: ReportReceiver, head: Request) -> Admission:
    admitted = receiver.admit(head)
    assert isinstance(admitted, Admission)
    return admitted


def refusal(receiver: ReportReceiver, head: Request) -> Response | None:
    """The answer that refuses a request by its head; None where it is admitted."""
    admitted = receiver.admit(head)
    return admitted if isinstance(admitted, Response) else None


# Reports


def test_reports_are_accepted_in_order_and_acknowledged(receiver: ReportReceiver, kept: Kept) -> None:
    response = receiver.handle(post(SENT, DEFERRED))
    assert response.status == 200
    assert content(response) == {"ok": True, "queued": 0, "accepted": 2, "set_aside": 0}
    assert [(report.kind, report.message_id) for report in kept.calls[0]] == [(Kind.SENT, "m1"), (Kind.DEFERRED, "m2")]


def test_periodic_sync_is_a_success_without_reports(receiver: ReportReceiver, kept: Kept) -> None:
    assert content(receiver.handle(post())) == {"ok": True, "queued": 0, "accepted": 0, "set_aside": 0}
    assert kept.calls == []


@pytest.mark.parametrize("error", [MailProxyError("no broker"), OSError("refused by bob@example.com")])
def test_reports_that_cannot_be_kept_are_not_acknowledged(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    receiver = ReportReceiver(accept=Kept(error), tokens={None: ("secret",)})
    response = receiver.handle(post(SENT))
    assert problem(response) == (503, "not_kept")
    assert int(dict(response.headers)["Retry-After"]) > 0
    assert type(error).__name__ in caplog.text
    assert "bob@example.com" not in caplog.text
    assert receiver.counts.reports_accepted == 0


def test_bad_entries_are_set_aside_and_the_good_ones_go_on(
    receiver: ReportReceiver, kept: Kept, caplog: pytest.LogCaptureFixture
) -> None:
    assert content(receiver.handle(post(BAD, SENT, "nonsense")))["set_aside"] == 2
    assert [report.message_id for report in kept.calls[0]] == ["m1"]
    assert {record.levelno for record in caplog.records} == {logging.WARNING}
    assert "'m3'" in caplog.text
    assert "bob@example.com" not in caplog.text


def test_an_outcome_without_a_clear_time_counts_and_is_logged(
    receiver: ReportReceiver, kept: Kept, caplog: pytest.LogCaptureFixture
) -> None:
    before = utcnow()
    response = receiver.handle(post(SENT, *[UNTIMED] * 30))
    assert (response.status, content(response)["accepted"], content(response)["set_aside"]) == (200, 31, 0)
    untimed = kept.calls[0][-1]
    assert (untimed.message_id, untimed.kind, untimed.reason) == ("m4", Kind.ERROR, "550 no such user")
    assert before <= untimed.at <= utcnow()
    assert {record.levelno for record in caplog.records} == {logging.WARNING}
    assert "message 'm4' counts from its arrival: error_ts must be a number of unix seconds" in caplog.text
    assert "10 more" in caplog.text
    assert "bob@example.com" not in caplog.text


def test_body_of_bad_entries_alone_is_acknowledged_or_it_would_come_for_ever(
    receiver: ReportReceiver, kept: Kept, caplog: pytest.LogCaptureFixture
) -> None:
    response = receiver.handle(post(*[BAD] * 30))
    assert (response.status, content(response)["set_aside"]) == (200, 30)
    assert kept.calls == []
    assert {record.levelno for record in caplog.records} == {logging.ERROR}
    assert "10 more" in caplog.text


def test_id_with_a_line_break_cannot_forge_a_line_of_the_log(
    receiver: ReportReceiver, caplog: pytest.LogCaptureFixture
) -> None:
    receiver.handle(post({"id": "m1\nERROR all is lost"}))
    (record,) = caplog.records
    assert "\n" not in record.getMessage()


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"delivery_report": {}}', b"\xff\xfe", b"[" * 9000])
def test_body_of_another_shape_is_400(receiver: ReportReceiver, body: bytes) -> None:
    assert problem(receiver.handle(post(body=body))) == (400, "bad_body")


def test_counts_tell_what_was_done(receiver: ReportReceiver) -> None:
    receiver.handle(post(SENT, DEFERRED, BAD))
    receiver.handle(post(body=b"x"))
    assert isinstance(receiver.admit(post(SENT, token="wrong")), Response)
    counts = receiver.counts
    assert (counts.reports_accepted, counts.entries_set_aside) == (2, 1)
    assert counts.responses == {("reports", 200): 1, ("reports", 400): 1, ("reports", 401): 1}


@pytest.mark.parametrize(
    ("moment", "seconds"),
    [
        (1795324468, 1795324468),
        (1795324468.2, 1795324469),
        (datetime(2026, 11, 22, tzinfo=timezone(timedelta(hours=1))), 1795302000),
        (None, None),
    ],
)
def test_next_sync_after_is_passed_on(receiver: ReportReceiver, moment: Any, seconds: int | None) -> None:
    asked = []

    def next_sync_after(tenant_id: str | None) -> Any:
        asked.append(tenant_id)
        return moment

    receiver = replace(receiver, tokens={"acme": ("a",)}, next_sync_after=next_sync_after)
    assert content(receiver.handle(post(token="a"))).get("next_sync_after") == seconds
    assert asked == ["acme"]


@pytest.mark.parametrize("moment", [datetime(2026, 11, 22), "soon", True, float("nan")])  # noqa: DTZ001
def test_next_sync_after_that_makes_no_sense_is_left_out(
    receiver: ReportReceiver, moment: Any, caplog: pytest.LogCaptureFixture
) -> None:
    receiver = replace(receiver, next_sync_after=lambda tenant_id: moment)
    response = receiver.handle(post())
    assert (response.status, "next_sync_after" in content(response)) == (200, False)
    assert "mail_proxy_next_sync_after failed" in caplog.text


# Routes


@pytest.mark.parametrize(
    ("mount", "path"),
    [
        ("", "/mail-proxy/sync"),
        ("", "/mail-proxy/sync/"),
        ("", "//mail-proxy//sync"),
        ("/mail-proxy", "/sync"),
        ("/mail-proxy/sync", "/"),
        ("/api/v1", "/mail-proxy/sync/"),
        ("/mail-proxy", "/mail-proxy/sync"),
    ],
)
def test_report_path_is_found_wherever_the_receiver_is_mounted(receiver: ReportReceiver, mount: str, path: str) -> None:
    assert receiver.handle(post(SENT, path=path, mount=mount)).status == 200


@pytest.mark.parametrize(("mount", "path"), [("", "/"), ("", "/sync"), ("", "/mail-proxy/sync/x"), ("/api", "/sync")])
def test_other_paths_are_404_and_say_where_reports_go(receiver: ReportReceiver, mount: str, path: str) -> None:
    response = refusal(receiver, post(SENT, path=path, mount=mount))
    assert response is not None
    assert problem(response) == (404, "not_found")
    assert "/mail-proxy/sync" in content(response)["detail"]


def test_paths_are_settings(receiver: ReportReceiver) -> None:
    receiver = replace(receiver, report_path="/", attachments_path="/files")
    assert receiver.handle(post(SENT, path="/")).status == 200
    assert problem(receiver.handle(post(path="/files"))) == (400, "bad_body")


@pytest.mark.parametrize("paths", [{"report_path": "/x", "attachments_path": "/x/"}, {"report_path": "/health"}])
def test_two_routes_cannot_share_a_path(receiver: ReportReceiver, paths: dict[str, str]) -> None:
    with pytest.raises(ConfigurationError, match="must differ"):
        replace(receiver, **paths)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("path", "method", "allowed"),
    [
        ("/mail-proxy/sync", "GET", "POST"),
        ("/mail-proxy/sync", "HEAD", "POST"),
        ("/mail-proxy/attachments", "PUT", "POST"),
        ("/health", "POST", "GET, HEAD"),
    ],
)
def test_other_methods_are_405_with_allow(receiver: ReportReceiver, path: str, method: str, allowed: str) -> None:
    response = receiver.handle(Request(method=method, path=path))
    assert problem(response) == (405, "method_not_allowed")
    assert dict(response.headers)["Allow"] == allowed


def test_health_needs_no_token(receiver: ReportReceiver) -> None:
    get = receiver.handle(Request(method="GET", path="/health"))
    head = receiver.handle(Request(method="HEAD", path="/health/"))
    assert (get.status, content(get)) == (200, {"status": "ok"})
    assert (head.status, head.body) == (200, b"")
    assert dict(head.headers)["Content-Length"] == str(len(get.body))


# Authentication


def basic(text: str, encoding: str = "utf-8") -> str:
    return "Basic " + base64.b64encode(text.encode(encoding)).decode()


@pytest.mark.parametrize(
    ("authorization", "tenant_id"),
    [
        ("Bearer new", "acme"),
        ("bearer  old ", "acme"),
        ("Bearer tökén".encode().decode("latin-1"), "beta"),
        (basic("tökén"), "beta"),
        (basic("tökén", "latin-1"), "beta"),
        (basic("user:pass"), "gamma"),
        ("Bearer user:pass", "gamma"),
    ],
)
def test_token_tells_the_tenant(kept: Kept, authorization: str, tenant_id: str) -> None:
    tokens: dict[str | None, tuple[str, ...]] = {"acme": ("new", "old"), "beta": ("tökén",), "gamma": ("user:pass",)}
    receiver = ReportReceiver(accept=kept, tokens=tokens)
    request = post(SENT, headers={"authorization": authorization})
    assert isinstance(receiver.admit(request), Admission)
    assert receiver.handle(request).status == 200
    assert [report.tenant_id for report in kept.calls[0]] == [tenant_id]


def test_token_of_all_tenants_names_none(receiver: ReportReceiver, kept: Kept) -> None:
    receiver.handle(post(SENT))
    assert kept.calls[0][0].tenant_id is None


@pytest.mark.parametrize(
    "authorization",
    [
        *["", "Bearer", "Bearer ", "Bearer wrong", "Bearer secre", "Bearer secret2", "Bearer a, Bearer secret"],
        *[
            "Basic",
            "Basic !",
            "Basic secret",
            basic(""),
            basic("user:wrong"),
            "secret",
            "Digest secret",
            "Bearer \u20ac",
        ],
    ],
)
def test_wrong_token_is_401(
    receiver: ReportReceiver, kept: Kept, authorization: str, caplog: pytest.LogCaptureFixture
) -> None:
    request = post(SENT, headers={"authorization": authorization}, client="192.0.2.1")
    response = refusal(receiver, request)
    assert response is not None
    assert problem(response) == (401, "unauthorized")
    challenges = [value for name, value in response.headers if name == "WWW-Authenticate"]
    assert [value.split(" realm=")[0] for value in challenges] == ["Bearer", "Basic"]
    assert receiver.handle(request).status == 401
    assert kept.calls == []
    assert "192.0.2.1" in caplog.text
    assert max(record.levelno for record in caplog.records) == logging.WARNING
    assert "secre" not in caplog.text


def test_without_a_setting_the_receiver_refuses_to_exist(kept: Kept) -> None:
    with pytest.raises(ConfigurationError, match=r"mail_proxy_sync_token must be set.*sync_auth to 'none'"):
        ReportReceiver(accept=kept, tokens=UNSET)


@pytest.mark.parametrize("tokens", [None, {}])
def test_no_token_is_not_the_word_for_no_authentication(kept: Kept, tokens: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"mail_proxy_sync_token must be set.*sync_auth to 'none'"):
        ReportReceiver(accept=kept, tokens=tokens)


def test_a_token_beside_the_word_for_none_is_refused(kept: Kept) -> None:
    with pytest.raises(ConfigurationError, match="exclude each other"):
        ReportReceiver(accept=kept, tokens={None: ("secret",)}, auth="none")


def test_no_authentication_is_a_decision_and_warned_of(kept: Kept, caplog: pytest.LogCaptureFixture) -> None:
    receiver = ReportReceiver(accept=kept, auth="none")
    assert caplog.text.count("mail_proxy_sync_auth is 'none'") == 1
    assert receiver.handle(post(SENT, headers={"authorization": ""})).status == 200


def test_two_tenants_with_one_token_are_refused_without_showing_it(kept: Kept) -> None:
    with pytest.raises(ConfigurationError, match="'acme' and 'beta'") as info:
        ReportReceiver(accept=kept, tokens={"acme": ("new", "shared"), "beta": ("shared",)})
    assert "shared" not in str(info.value)


def test_repr_shows_no_secret(receiver: ReportReceiver) -> None:
    assert "secret" not in repr(receiver)
    assert "secret" not in repr(post(SENT))


@pytest.mark.parametrize("break_", ["\n", "\r", "\x85", "\u2028"])
def test_an_id_from_the_wire_begins_no_line_of_the_log(
    receiver: ReportReceiver, kept: Kept, break_: str, caplog: pytest.LogCaptureFixture
) -> None:
    entries = [{"id": f"m1{break_}ERROR forged", "sent_ts": 1}, {"id": f"m2{break_}ERROR forged"}]
    response = receiver.handle(post(*entries))
    assert json.loads(response.body)["set_aside"] == 2
    assert kept.calls == []
    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) == 2
    assert all(message.isprintable() for message in messages)


def test_the_address_of_a_stranger_begins_no_line_of_the_log(
    receiver: ReportReceiver, caplog: pytest.LogCaptureFixture
) -> None:
    receiver.handle(post(SENT, headers={"authorization": ""}, client="192.0.2.1\nERROR forged"))
    assert "192.0.2.1\\nERROR forged" in caplog.text


# Size, type, and the order of the tests


def test_too_large_is_413_by_content_length_before_the_body_is_read(receiver: ReportReceiver) -> None:
    response = refusal(receiver, post(body=b"", headers={"content-length": "10001"}))
    assert response is not None
    assert problem(response) == (413, "too_large")
    assert isinstance(receiver.admit(post(body=b"", headers={"content-length": "10000"})), Admission)


def test_too_large_is_413_by_what_was_read(receiver: ReportReceiver) -> None:
    assert problem(receiver.handle(post(body=b" " * 10_001))) == (413, "too_large")
    assert admission(receiver, post()).body_limit == 10_000
    assert admission(receiver, ask()).body_limit == 64 * 1024
    assert problem(receiver.handle(ask("x" * 70_000))) == (413, "too_large")


@pytest.mark.parametrize("length", ["-1", "+5", "five", "1, 1", "5_0", "٥", "9" * 30])
def test_content_length_must_be_a_number(receiver: ReportReceiver, length: str) -> None:
    response = refusal(receiver, post(headers={"content-length": length}))
    assert response is not None
    assert problem(response) == (400, "bad_content_length")


def test_body_that_ended_early_is_400(receiver: ReportReceiver, kept: Kept) -> None:
    assert problem(receiver.handle(post(SENT, headers={"content-length": "9000"}))) == (400, "incomplete")
    assert kept.calls == []


@pytest.mark.parametrize(
    ("content_type", "is_fine"),
    [
        ("application/json", True),
        ("Application/JSON; charset=UTF-8", True),
        ('application/json;charset="utf-8"', True),
        ("application/vnd.reports+json", True),
        ("", False),
        ("text/plain", False),
        ("text/json", False),
        ("application/x-www-form-urlencoded", False),
        ("application/json; charset=utf-16", False),
    ],
)
def test_media_type_must_be_json_in_utf_8(receiver: ReportReceiver, content_type: str, is_fine: bool) -> None:
    response = refusal(receiver, post(SENT, headers={"content-type": content_type}))
    if is_fine:
        assert response is None
    else:
        assert response is not None
        assert problem(response) == (415, "unsupported_media_type")


def test_compressed_body_is_415(receiver: ReportReceiver) -> None:
    response = refusal(receiver, post(SENT, headers={"content-encoding": "gzip"}))
    assert response is not None
    assert problem(response) == (415, "unsupported_encoding")


def test_what_is_wrong_is_told_in_order_path_method_token_size_type(receiver: ReportReceiver) -> None:
    wrong = {"authorization": "", "content-length": "99999999", "content-type": "text/plain"}
    fixes: list[tuple[int, dict[str, str]]] = [
        (401, {"authorization": "Bearer secret"}),
        (413, {"content-length": "10"}),
        (415, {"content-type": "application/json"}),
    ]
    assert receiver.handle(Request(method="PUT", path="/x", headers=wrong)).status == 404
    assert receiver.handle(Request(method="PUT", path="/mail-proxy/sync", headers=wrong)).status == 405
    for status, fix in fixes:
        assert receiver.handle(Request(method="POST", path="/mail-proxy/sync", headers=wrong)).status == status
        wrong |= fix
    assert receiver.handle(Request(method="POST", path="/mail-proxy/sync", headers=wrong)).status == 400


# Attachments


PDF = Attachment(filename="faktura č. 7.pdf", content=b"%PDF", mime_type="application/pdf")


def test_resolver_gives_the_content(receiver: ReportReceiver, registry: ResolverRegistry) -> None:
    seen: list[tuple[AttachmentParams, str | None]] = []

    def pdf(params: AttachmentParams, tenant: str | None) -> Attachment:
        seen.append((params, tenant))
        return PDF

    registry.register(pdf)
    receiver = replace(receiver, tokens={"acme": ("secret",)})
    response = receiver.handle(ask("invoice_id=7&lang=it&empty="))
    assert (response.status, response.body) == (200, b"%PDF")
    headers = dict(response.headers)
    assert (headers["Content-Type"], headers["Content-Length"]) == ("application/pdf", "4")
    assert headers["Content-Disposition"] == (
        "attachment; filename=\"faktura _. 7.pdf\"; filename*=UTF-8''faktura%20%C4%8D.%207.pdf"
    )
    params, tenant = seen[0]
    assert (params, tenant) == ({"invoice_id": "7", "lang": "it", "empty": ""}, "acme")
    assert params.storage_path == "invoice_id=7&lang=it&empty="


def test_first_key_chooses_the_resolver(receiver: ReportReceiver, registry: ResolverRegistry) -> None:
    registry.register(lambda_for("default"))
    registry.register(lambda_for("invoice"), key="invoice_id")
    assert receiver.handle(ask("invoice_id=7&lang=it")).body == b"invoice"
    assert receiver.handle(ask("lang=it&invoice_id=7")).body == b"default"
    assert receiver.handle(ask("reports/7.pdf")).body == b"default"


def lambda_for(text: str) -> Any:
    def resolver(params: AttachmentParams, tenant: str | None) -> str:
        return text

    resolver.__qualname__ = text
    return resolver


@pytest.mark.parametrize(
    ("result", "media_type"), [("čau", "text/plain; charset=utf-8"), (bytearray(b"x"), "application/octet-stream")]
)
def test_text_and_bytes_are_attachments_too(
    receiver: ReportReceiver, registry: ResolverRegistry, result: Any, media_type: str
) -> None:
    registry.register(lambda params, tenant: result)
    response = receiver.handle(ask())
    assert response.body == (result.encode() if isinstance(result, str) else bytes(result))
    assert dict(response.headers)["Content-Type"] == media_type
    assert "Content-Disposition" not in dict(response.headers)


def test_names_and_types_cannot_break_out_of_a_header(receiver: ReportReceiver, registry: ResolverRegistry) -> None:
    # An Attachment refuses such values itself; a resolver may return an object of the user's own.
    hostile = SimpleNamespace(content=b"", filename='a"\r\nSet-Cookie: x', mime_type="text/html\r\nSet-Cookie: x")
    registry.register(lambda params, tenant: hostile)  # type: ignore[arg-type, return-value]
    headers = dict(receiver.handle(ask()).headers)
    assert not any(c in value for value in headers.values() for c in "\r\n")
    assert headers["Content-Type"] == "application/octet-stream"


def test_media_type_is_guessed_by_the_name(receiver: ReportReceiver, registry: ResolverRegistry) -> None:
    registry.register(lambda params, tenant: Attachment(filename="a.pdf", content=b"%PDF"))
    assert dict(receiver.handle(ask()).headers)["Content-Type"] == "application/pdf"


def test_reference_is_no_content(receiver: ReportReceiver, registry: ResolverRegistry) -> None:
    registry.register(lambda params, tenant: Attachment.from_url("https://example.com/a.pdf"))
    assert problem(receiver.handle(ask())) == (500, "resolver_failed")


def test_without_a_resolver_it_is_404_and_says_how_to_register_one(receiver: ReportReceiver) -> None:
    response = receiver.handle(ask())
    assert problem(response) == (404, "attachment_not_found")
    assert "@attachment_resolver" in content(response)["detail"]


@pytest.mark.parametrize("is_raised", [True, False])
def test_resolver_that_finds_nothing_is_404(
    receiver: ReportReceiver, registry: ResolverRegistry, is_raised: bool
) -> None:
    def find(params: AttachmentParams, tenant: str | None) -> None:
        if is_raised:
            raise LookupError(params["invoice_id"])

    registry.register(find)
    assert problem(receiver.handle(ask())) == (404, "attachment_not_found")


def test_resolver_that_raises_is_500_and_logged_without_values(
    receiver: ReportReceiver, registry: ResolverRegistry, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(params: AttachmentParams, tenant: str | None) -> bytes:
        raise RuntimeError(f"cannot render {params['invoice_id']}")

    registry.register(broken)
    response = receiver.handle(ask("invoice_id=topsecret"))
    assert problem(response) == (500, "resolver_failed")
    assert "broken raised RuntimeError" in caplog.text
    assert "in broken" in caplog.text, "the frames are there"
    assert "topsecret" not in caplog.text + response.body.decode()


def test_resolver_that_returns_something_else_is_500(receiver: ReportReceiver, registry: ResolverRegistry) -> None:
    registry.register(lambda params, tenant: 7)  # type: ignore[arg-type, return-value]
    assert problem(receiver.handle(ask())) == (500, "resolver_failed")


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"storage_path": 7}', b'{"storage_path": ""}'])
def test_attachment_request_of_another_shape_is_400(receiver: ReportReceiver, body: bytes) -> None:
    assert problem(receiver.handle(post(body=body, path="/mail-proxy/attachments"))) == (400, "bad_body")


def test_attachments_need_the_token_too(receiver: ReportReceiver) -> None:
    assert receiver.handle(ask(token="wrong")).status == 401


def test_one_resolver_for_each_key(registry: ResolverRegistry) -> None:
    registry.register(lambda_for("first"), key="id")
    registry.register(lambda_for("first"), key="id")
    with pytest.raises(ConfigurationError, match=r"key 'id', got .*first and .*second"):
        registry.register(lambda_for("second"), key="id")


def test_coroutine_is_no_resolver(registry: ResolverRegistry) -> None:
    async def resolver(params: AttachmentParams, tenant: str | None) -> bytes:
        return b""

    with pytest.raises(ConfigurationError, match="plain function"):
        registry.register(resolver)  # type: ignore[arg-type]


def test_decorator_registers_and_returns_the_function(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolvers_module, "DEFAULT_REGISTRY", registry := ResolverRegistry())

    @attachment_resolver
    def default(params: AttachmentParams, tenant: str | None) -> bytes:
        return b"default"

    @attachment_resolver("id")
    def by_id(params: AttachmentParams, tenant: str | None) -> bytes:
        return b"by id"

    assert default(AttachmentParams(""), None) == b"default"
    assert [registry.resolve(path).content for path in ("id=1", "other=1")] == [b"by id", b"default"]
