"""Where the source of a large mail is kept while the broker and the proxy hold but a reference to it.

That is Django's file storage: the alias `mail_proxy` of STORAGES, else the default one. A file holds the whole mail
(RFC 5322). Its attachments are served to the proxy by the attachments view; a worker reads mails that the proxy cannot
put together from such. Web processes and workers must share the storage, and nobody else should see into it.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from email import message_from_bytes, policy
from urllib.parse import urlencode
from uuid import uuid4

from django.conf import settings as django_settings
from django.core.files.base import ContentFile
from django.core.files.storage import Storage, default_storage, storages
from django.core.signing import BadSignature, Signer

from ...receiver.resolvers import AttachmentParams, attachment_resolver

__all__ = ["STORAGE_ALIAS", "discard", "keep", "load", "names", "new_name", "reference", "storage"]

logger = logging.getLogger(__name__)

STORAGE_ALIAS = "mail_proxy"

_FOLDER = "celery-mailproxy"

#: The first key of a reference's storage path, by which its resolver is found.
_KEY = "mailproxy_content"


def storage() -> Storage:
    """The storage that mails are kept in."""
    return storages[STORAGE_ALIAS] if STORAGE_ALIAS in django_settings.STORAGES else default_storage


def new_name() -> str:
    """A name for one mail's source, which nobody can guess."""
    return f"{_FOLDER}/{uuid4().hex}.eml"


def names() -> list[str]:
    """The names of all sources in the storage. Raises what the storage raises."""
    _, files = storage().listdir(_FOLDER)
    return [f"{_FOLDER}/{file}" for file in files]


def keep(name: str, source: bytes) -> str:
    """Keep a mail's source; the name under which the storage has it. Raises what the storage raises."""
    return storage().save(name, ContentFile(source))


def load(name: str) -> bytes | None:
    """A mail's source; None where it is gone. Raises what the storage raises."""
    try:
        with storage().open(name, "rb") as file:
            content: bytes = file.read()
            return content
    except FileNotFoundError:
        return None


def discard(names: Sequence[str]) -> None:
    """Delete the sources of mails that have ended. Never raises; what could not be deleted is logged by its name."""
    for name in names:
        try:
            storage().delete(name)
        except Exception:
            logger.exception("the content of an email that has ended could not be deleted: %s", name)


def reference(name: str, part: int) -> str:
    """The storage path by which the proxy asks for a part: the mail's `part`-th child, counted from 0.

    The name is signed: whoever has the proxy's token can ask for what was meant for the proxy, and for no other file.
    """
    return urlencode({_KEY: _signer().sign(name), "part": part})


def _signer() -> Signer:
    return Signer(salt="celery_mailproxy.django.content")


@attachment_resolver(_KEY)
def _resolve(params: AttachmentParams, tenant_id: str | None) -> bytes | None:
    """The content that a reference means."""
    try:
        name, index = _signer().unsign(params[_KEY]), int(params["part"])
    except (BadSignature, ValueError) as exc:
        raise LookupError("not a reference of ours") from exc
    source = load(name)
    if source is None:
        return None
    # A charset has no say here: the bytes are what was attached.
    parts = message_from_bytes(source, policy=policy.compat32).get_payload()
    content = parts[index].get_payload(decode=True)  # type: ignore[index,union-attr]
    return content if isinstance(content, bytes) else None
