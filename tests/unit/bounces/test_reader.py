"""The reader on real mailboxes, an IMAP server's among them: each bounce once, and what is none stays unread."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from celery_mailproxy.bounces.mailboxes import open_mailbox
from celery_mailproxy.bounces.mailboxes.base import FoundMail
from celery_mailproxy.bounces.reader import BounceReader, Tally
from celery_mailproxy.deliveries.delivery import Delivery
from celery_mailproxy.deliveries.report import DeliveryReport, Kind
from celery_mailproxy.deliveries.stores.base import Retention
from celery_mailproxy.deliveries.stores.memory import MemoryStore
from celery_mailproxy.errors import MailboxError, StoreError
from tests.harness.imap_server import ImapServer
from tests.unit.bounces.boxes import FilledBox, FilledImap, FilledMaildir, FilledMbox
from tests.unit.bounces.corpus import TEMPLATE, Specimen, specimens

NOW = datetime(2026, 3, 2, 12, 0, tzinfo=timezone.utc)
CORPUS = {each.name: each for each in specimens()}


def source(name: str) -> bytes:
    return CORPUS[name].source


class Accepted(list[DeliveryReport]):
    """Reports that were handed over; `error` is raised before the next are."""

    error: Exception | None = None

    def __call__(self, reports: Sequence[DeliveryReport]) -> None:
        error, self.error = self.error, None
        if error is not None:
            raise error
        self.extend(reports)


@pytest.fixture(params=["maildir", "mbox", "imaps", "imap"])
def box(request: pytest.FixtureRequest, tmp_path: Path) -> FilledBox:
    if request.param == "maildir":
        return FilledMaildir(tmp_path)
    if request.param == "mbox":
        return FilledMbox(tmp_path)
    server = request.getfixturevalue("imap_server")
    return FilledImap(server, folder="bounces", is_tls=request.param == "imaps")


@pytest.fixture
def store() -> MemoryStore:
    store = MemoryStore(Retention())
    ids = {each.message_id for specimen in CORPUS.values() for each in specimen.expected if each.message_id}
    store.register([Delivery(message_id=each, created_at=NOW, updated_at=NOW) for each in sorted(ids)])
    return store


def reader(box: FilledBox, store: MemoryStore, accepted: Accepted) -> BounceReader:
    return BounceReader(
        mailbox=open_mailbox(box.url), store=store, accept=accepted, template=TEMPLATE, clock=lambda: NOW
    )


def test_bounces_are_handed_over_and_marked_and_the_rest_stays_unread(box: FilledBox, store: MemoryStore) -> None:
    box.deliver(
        source("postfix-two-recipients"), source("none-vacation"), source("abuse-report"), source("gmail-disabled")
    )
    accepted = Accepted()
    tally = reader(box, store, accepted).read()
    assert tally == Tally(looked_at=4, hard=2, soft=1, complaints=1, others=1)
    assert [(each.kind, each.bounce_type, each.recipient) for each in accepted] == [
        (Kind.BOUNCED, "hard", "ann@mail.example"),
        (Kind.BOUNCED, "soft", "bob@mail.example"),
        (Kind.COMPLAINED, None, "ann@mail.example"),
        (Kind.BOUNCED, "hard", "ann@gmail.example"),
    ]
    assert {each.via for each in accepted} == {"mailbox"}
    assert len({each.key for each in accepted}) == 4
    assert box.seen() in (None, [True, False, True, True])


def test_second_look_finds_only_what_is_new(box: FilledBox, store: MemoryStore) -> None:
    box.deliver(source("none-newsletter"), source("qmail-no-mailbox"))
    accepted = Accepted()
    assert reader(box, store, accepted).read().looked_at == 2
    assert reader(box, store, accepted).read() == Tally()
    box.deliver(source("none-vacation"), source("exim-report"))
    assert reader(box, store, accepted).read() == Tally(looked_at=2, hard=1, others=1)
    assert len(accepted) == 2


def test_bounce_of_a_mail_that_is_not_ours_stays_unread(box: FilledBox) -> None:
    box.deliver(source("qmail-no-mailbox"))
    accepted = Accepted()
    tally = reader(box, MemoryStore(Retention()), accepted).read()
    assert (tally, accepted) == (Tally(looked_at=1, unknown=1), [])
    assert box.seen() in (None, [False])


def test_more_than_a_page_is_read_as_long_as_there_is_time(box: FilledBox, store: MemoryStore) -> None:
    bounces = [each.source for each in CORPUS.values() if each.expected][:45]
    box.deliver(*bounces)
    turns = iter([True, True, False])
    accepted = Accepted()
    assert reader(box, store, accepted).read(lambda: next(turns)).looked_at == 40
    assert reader(box, store, accepted).read().looked_at == 5
    assert box.seen() in (None, [True] * 45)


@pytest.mark.parametrize("moment", ["accept", "mark_seen", "set_value"])
def test_what_is_cut_off_is_read_again_and_gives_the_same_reports(
    box: FilledBox, store: MemoryStore, moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    box.deliver(source("postfix-two-recipients"), source("none-vacation"))
    accepted = Accepted()
    cut_off = reader(box, store, accepted)
    with monkeypatch.context() as patch:
        if moment == "accept":
            accepted.error = StoreError("away")
        elif moment == "mark_seen":

            def fail(mails: Sequence[FoundMail]) -> None:
                raise StoreError("away")

            patch.setattr(cut_off._mailbox, "mark_seen", fail)
        else:

            def refuse(name: str, value: str | None) -> None:
                raise StoreError("away")

            patch.setattr(store, "set_value", refuse)
        with pytest.raises(StoreError):
            cut_off.read()
    reader(box, store, accepted).read()
    assert len({each.key for each in accepted}) == 2
    assert box.seen() in (None, [True, False])


def test_same_notice_in_another_mailbox_has_the_same_keys(tmp_path: Path, store: MemoryStore) -> None:
    keys = []
    for kind in (FilledMaildir, FilledMbox):
        accepted = Accepted()
        (tmp_path / kind.__name__).mkdir()
        box = kind(tmp_path / kind.__name__)
        box.deliver(*(each.source for each in CORPUS.values() if each.expected))
        reader(box, store, accepted).read()
        keys.append([each.key for each in accepted])
    assert keys[0] == keys[1]
    assert len(set(keys[0])) == len(keys[0])


@pytest.mark.parametrize("specimen", [each for each in CORPUS.values() if each.expected], ids=lambda each: each.name)
def test_each_notice_finds_its_mail(specimen: Specimen, store: MemoryStore, tmp_path: Path) -> None:
    box = FilledMaildir(tmp_path)
    box.deliver(specimen.source)
    accepted = Accepted()
    reader(box, store, accepted).read()
    assert [each.message_id for each in accepted] == [each.message_id for each in specimen.expected]


def test_copy_for_one_recipient_is_found_by_the_recipient(tmp_path: Path) -> None:
    (verdict,) = CORPUS["postfix-user-unknown"].expected
    assert verdict.message_id is not None
    store = MemoryStore(Retention())
    members = ("bob@mail.example", "Ann@mail.example")
    store.register([Delivery(message_id=verdict.message_id, created_at=NOW, updated_at=NOW, members=members)])
    box = FilledMaildir(tmp_path)
    box.deliver(source("postfix-user-unknown"))
    accepted = Accepted()
    reader(box, store, accepted).read()
    assert [each.message_id for each in accepted] == [f"{verdict.message_id}-1"]


def test_notice_from_the_future_or_from_long_ago_is_dated_by_its_arrival(tmp_path: Path, store: MemoryStore) -> None:
    for date in (b"Fri, 01 Mar 2999 10:00:00 +0000", b"Mon, 02 Mar 1970 10:00:00 +0000", b"yesterday"):
        box = FilledMaildir(tmp_path / date.hex())
        lines = source("qmail-no-mailbox").split(b"\n")
        index = next(index for index, line in enumerate(lines) if line.startswith(b"Date:"))
        box.deliver(b"\n".join([*lines[:index], b"Date: " + date, *lines[index + 1 :]]))
        accepted = Accepted()
        reader(box, store, accepted).read()
        # It has been written just now.
        assert abs(accepted[0].at - datetime.now(timezone.utc)) < timedelta(minutes=10)


def test_place_that_nobody_can_read_stands_for_nothing(box: FilledBox, store: MemoryStore) -> None:
    box.deliver(source("qmail-no-mailbox"))
    accepted = Accepted()
    cut = reader(box, store, accepted)
    for place in ("{", '"x"', "[1, 2]", '{"uid": "x", "uidvalidity": 1}', "7"):
        store.set_value(cut._value, place)
        cut.read()
    assert {each.key for each in accepted} == {accepted[0].key}


def test_folder_made_anew_is_read_from_its_beginning(imap_server: ImapServer, store: MemoryStore) -> None:
    accepted = Accepted()
    box = FilledImap(imap_server, folder="anew")
    box.deliver(source("none-vacation"), source("none-newsletter"), source("qmail-no-mailbox"))
    reader(box, store, accepted).read()
    box = FilledImap(imap_server, folder="anew")
    box.deliver(source("exim-report"))
    assert reader(box, store, accepted).read() == Tally(looked_at=1, hard=1)


def test_rotated_mbox_is_read_from_its_beginning(tmp_path: Path, store: MemoryStore) -> None:
    accepted = Accepted()
    box = FilledMbox(tmp_path)
    box.deliver(source("none-vacation"), source("qmail-no-mailbox"))
    reader(box, store, accepted).read()
    box.path.write_bytes(b"")
    box.deliver(source("exim-report"), source("postfix-two-recipients"), source("gmail-disabled"))
    assert reader(box, store, accepted).read().looked_at == 3


def test_mbox_that_a_mail_server_writes_to_is_left_for_the_next_look(tmp_path: Path, store: MemoryStore) -> None:
    box = FilledMbox(tmp_path)
    box.deliver(source("qmail-no-mailbox"))
    # A lock is a process's: this one's would be its own.
    code = "import fcntl, sys; f = open(sys.argv[1], 'r+b'); fcntl.lockf(f, fcntl.LOCK_EX); print('locked', flush=True)"
    command = [sys.executable, "-c", f"{code}; sys.stdin.read()", str(box.path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as server:
        assert server.stdout is not None
        assert server.stdout.readline() == b"locked\n"
        with pytest.raises(MailboxError, match="cannot be read"):
            reader(box, store, Accepted()).read()
        server.communicate()
    assert reader(box, store, Accepted()).read().hard == 1


def test_mail_that_a_person_has_read_is_left_alone(imap_server: ImapServer, store: MemoryStore, tmp_path: Path) -> None:
    box = FilledImap(imap_server, folder="read")
    box.deliver(source("qmail-no-mailbox"))
    with imap_server.client() as client:
        client.select_folder("read")
        client.add_flags(client.search(), [b"\\Seen"])
    maildir = FilledMaildir(tmp_path)
    maildir.deliver(source("qmail-no-mailbox"))
    (path,) = (maildir.folder / "new").iterdir()
    path.rename(maildir.folder / "cur" / f"{path.name}:2,FS")
    for each in (box, maildir):
        assert reader(each, store, Accepted()).read() == Tally()


def test_wrong_password_and_unreachable_server_are_told_without_the_password(
    imap_server: ImapServer, store: MemoryStore
) -> None:
    imap_server.empty("door")
    wrong = imap_server.url("door").replace("s3cr", "s3cr3t")
    absent = imap_server.url("nowhere")
    unreachable = f"imaps://bounces:s3cr3t@127.0.0.1:1/INBOX?ca_file={imap_server.ca_file}"
    for url in (wrong, absent, unreachable):
        with pytest.raises(MailboxError) as caught, open_mailbox(url):
            pass
        assert "s3cr" not in str(caught.value)
        assert "127.0.0.1" in str(caught.value)


def test_certificate_of_nobody_is_refused(imap_server: ImapServer) -> None:
    with pytest.raises(MailboxError, match="CERTIFICATE"), open_mailbox(imap_server.url().partition("?")[0]):
        pass


@pytest.mark.parametrize("kind", ["maildir", "mbox"])
def test_missing_folder_or_file_is_told(kind: str, tmp_path: Path) -> None:
    with pytest.raises(MailboxError, match="none"), open_mailbox(f"{kind}://{tmp_path}/none"):
        pass
