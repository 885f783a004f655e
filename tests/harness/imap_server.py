"""A Dovecot of the tests' own: a real IMAP server with one account, whose mails are in a Maildir."""

from __future__ import annotations

import getpass
import grp
import os
import pwd
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import trustme
from imapclient import IMAPClient

from celery_mailproxy.testing.ports import free_port

from .server_process import ServerProcess, ServiceMissing

__all__ = ["ImapServer"]

_USER = "bounces@shop.example"

#: What has to be percent-encoded in a URL, and is shown nowhere.
PASSWORD = "s3cr:et/@%"


class ImapServer(ServerProcess):
    """Dovecot on two free ports, one of them with TLS from the first byte."""

    name = "dovecot"

    def __init__(self, *, port: int | None = None) -> None:
        super().__init__(port=port)
        self.tls_port = free_port()
        self.folder.chmod(0o755)
        authority = trustme.CA()
        authority.cert_pem.write_to_path(self.ca_file)
        certificate = authority.issue_cert("127.0.0.1", "localhost")
        certificate.private_key_and_cert_chain_pem.write_to_path(self.folder / "server.pem")
        self._mails = self.folder / "mails"
        self._mails.mkdir()
        (self.folder / "dovecot.conf").write_text(self._configuration())

    @property
    def ca_file(self) -> Path:
        return self.folder / "ca.pem"

    def url(self, folder: str = "INBOX") -> str:
        """For `mail_proxy_bounce_mailbox`: through TLS."""
        account = f"{quote(_USER, safe='')}:{quote(PASSWORD, safe='')}"
        return f"imaps://{account}@127.0.0.1:{self.tls_port}/{folder}?ca_file={self.ca_file}"

    def plain_url(self, folder: str = "INBOX") -> str:
        """The same without TLS, which is allowed on this machine alone."""
        return f"imap://{quote(_USER, safe='')}:{quote(PASSWORD, safe='')}@127.0.0.1:{self.port}/{folder}"

    @contextmanager
    def client(self) -> Iterator[IMAPClient]:
        """A client that has logged in, as a person's mail program would."""
        with IMAPClient("127.0.0.1", port=self.port, ssl=False) as client:
            client.login(_USER, PASSWORD)
            yield client

    def empty(self, folder: str = "INBOX") -> None:
        """Make the folder anew, with other UIDs."""
        with self.client() as client:
            if folder == "INBOX":
                client.select_folder(folder)
                client.delete_messages(client.search())
                client.expunge()
                return
            if client.folder_exists(folder):
                client.delete_folder(folder)
            client.create_folder(folder)

    def append(self, *sources: bytes, folder: str = "INBOX") -> None:
        """Put mails into the folder, unread."""
        with self.client() as client:
            for source in sources:
                client.append(folder, source)

    def seen(self, folder: str = "INBOX") -> list[bool]:
        """Of each mail in the folder, whether it is marked as read."""
        with self.client() as client:
            client.select_folder(folder, readonly=True)
            flags = client.get_flags(client.search())
            return [b"\\Seen" in flags[uid] for uid in sorted(flags)]

    def command(self) -> list[str]:
        found = shutil.which("dovecot") or shutil.which("dovecot", path="/usr/sbin:/usr/local/sbin")
        if not found:
            raise ServiceMissing("Dovecot is not installed (Debian, Ubuntu: apt-get install dovecot-imapd)")
        return [found, "-F", "-c", str(self.folder / "dovecot.conf")]

    def is_ready(self) -> bool:
        try:
            with self.client():
                return True
        except (OSError, IMAPClient.Error):
            return False

    def _configuration(self) -> str:
        # Dovecot keeps no mail as root: there it is nobody's.
        is_root = os.getuid() == 0
        owner = pwd.getpwnam("nobody" if is_root else getpass.getuser())
        group = grp.getgrgid(owner.pw_gid).gr_name
        if is_root:
            os.chown(self._mails, owner.pw_uid, owner.pw_gid)
        internal = "" if is_root else f"default_internal_user = {owner.pw_name}\ndefault_login_user = {owner.pw_name}\n"
        # It would take % for the beginning of a variable.
        password = PASSWORD.replace("%", "%%")
        chroot = "" if is_root else "  chroot =\n"
        return (
            f"base_dir = {self.folder}/run\nlog_path = /dev/stderr\nprotocols = imap\nlisten = 127.0.0.1\n{internal}"
            f"default_internal_group = {'dovecot' if is_root else group}\n"
            f"ssl = yes\nssl_cert = <{self.folder}/server.pem\nssl_key = <{self.folder}/server.pem\n"
            f"disable_plaintext_auth = no\nauth_mechanisms = plain login\nmail_location = maildir:{self._mails}/box\n"
            f"first_valid_uid = {owner.pw_uid}\nlast_valid_uid = {owner.pw_uid}\nfirst_valid_gid = 0\n"
            f"passdb {{\n  driver = static\n  args = password={password}\n}}\n"
            f"userdb {{\n  driver = static\n  args = uid={owner.pw_uid} gid={owner.pw_gid} home={self._mails}\n}}\n"
            f"service imap-login {{\n{chroot}  inet_listener imap {{\n    port = {self.port}\n  }}\n"
            f"  inet_listener imaps {{\n    port = {self.tls_port}\n    ssl = yes\n  }}\n}}\n"
            f"service anvil {{\n{chroot}}}\nservice stats {{\n{chroot}}}\n"
        )
