"""`MailSink` keeps what it gets, and refuses what it is told to."""

from __future__ import annotations

import contextlib
import gc
import smtplib
import socket
import sys
import threading

import pytest

from celery_mailproxy import testing
from celery_mailproxy.errors import ConfigurationError
from celery_mailproxy.testing import MailSink
from tests.harness.waiting import PATIENCE_SECONDS


class TestMailSink:
    def test_mail_is_kept_with_its_envelope(self, mail_sink: MailSink) -> None:
        with smtplib.SMTP(mail_sink.host, mail_sink.port) as client:
            client.sendmail("from@example.com", ["a@example.com", "b@example.com"], "Subject: Hi\n\nBody\n")
            assert not client.has_extn("smtputf8")
        (mail,) = mail_sink.wait_for(1, timeout_seconds=PATIENCE_SECONDS)
        assert (mail.mail_from, mail.rcpt_to) == ("from@example.com", ("a@example.com", "b@example.com"))
        assert mail.raw == b"Subject: Hi\r\n\r\nBody\r\n"
        assert mail.message["Subject"] == "Hi"
        assert mail_sink.mails_to("b@example.com") == [mail]

    @pytest.mark.parametrize(("name", "code"), [("refused", 550), ("later", 451)])
    def test_recipient_is_refused_by_name(self, mail_sink: MailSink, name: str, code: int) -> None:
        recipient = f"{name}-1@example.com"
        with (
            smtplib.SMTP(mail_sink.host, mail_sink.port) as client,
            pytest.raises(smtplib.SMTPRecipientsRefused) as refusal,
        ):
            client.sendmail("from@example.com", [recipient], "Subject: Hi\n\nBody\n")
        assert refusal.value.recipients[recipient][0] == code
        assert mail_sink.mails == []

    def test_scripted_answers_come_first(self, mail_sink: MailSink) -> None:
        mail_sink.answer_next("a@example.com", "451 4.3.0 try later")
        with smtplib.SMTP(mail_sink.host, mail_sink.port) as client:
            with pytest.raises(smtplib.SMTPRecipientsRefused):
                client.sendmail("from@example.com", ["a@example.com"], "Subject: 1\n\nBody\n")
            client.sendmail("from@example.com", ["a@example.com"], "Subject: 2\n\nBody\n")
        assert [mail.message["Subject"] for mail in mail_sink.mails] == ["2"]

    def test_waiting_for_too_many_mails_ends(self, mail_sink: MailSink) -> None:
        with pytest.raises(TimeoutError, match="0 of 1 mails"):
            mail_sink.wait_for(1, timeout_seconds=0.05)

    def test_stopping_hangs_up_on_open_connections(self) -> None:
        with MailSink() as sink:
            client = smtplib.SMTP(sink.host, sink.port)
        with pytest.raises(smtplib.SMTPServerDisconnected):
            client.noop()
        client.close()

    def test_clients_that_connect_while_it_stops_leave_no_socket_open(self) -> None:
        """A socket left open would be an error: warnings are, also those of a collected object."""
        has_stopped = threading.Event()
        for _ in range(5):
            has_stopped.clear()
            with MailSink() as sink:
                callers = [threading.Thread(target=call_until, args=(has_stopped, sink.port)) for _ in range(8)]
                for caller in callers:
                    caller.start()
            has_stopped.set()
            for caller in callers:
                caller.join()
            gc.collect()

    def test_missing_library_names_its_cure(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "aiosmtpd.controller", None)
        monkeypatch.delitem(sys.modules, "celery_mailproxy.testing.smtp_server", raising=False)
        monkeypatch.delattr(testing, "smtp_server", raising=False)
        with pytest.raises(ConfigurationError, match=r'pip install "celery-mailproxy\[demo\]"'):
            MailSink().start()


def call_until(event: threading.Event, port: int) -> None:
    while not event.is_set():
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", port)).close()
