"""From Django's `EmailMessage` to the arguments of a task: the mail that its SMTP backend would send, as source."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from email.policy import EmailPolicy
from typing import Any
from uuid import uuid4

from django.core.mail import message as django_message
from django.db.models import Model

from ...conf.settings import Settings
from ...errors import ConfigurationError, InvalidMessage
from ...mail.message import MailMessage
from ...mail.payload import check_expressible
from ...mail.raw import raw_text
from ...tasks.sending.arguments import dump_arguments, one_outgoing
from ..log import content
from ..log.entries import LogEntry
from ..log.opening import has_log
from .celery_email import CeleryEmailSettings
from .options import message_options

__all__ = ["ConvertedMail", "InvalidHeader", "convert"]

#: Django 6.1 has made it a plain `ValueError`, and deprecates the name in `django.core.mail`.
_BadHeaderError: type[ValueError] = getattr(django_message, "BadHeaderError", ValueError)


class InvalidHeader(InvalidMessage, _BadHeaderError):  # type: ignore[misc, valid-type]
    """A header that Django refuses to build, for code that catches Django's `BadHeaderError`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvertedMail:
    """A mail, checked and ready to be published.

    `arguments` are those of its task, plain; of a mail that is kept off the broker without its `source`, which goes
    into the file `content_name`.
    """

    message: MailMessage = field(repr=False)
    arguments: Mapping[str, Any] = field(repr=False)
    entry: LogEntry
    has_own_id: bool = False
    source: bytes = field(default=b"", repr=False)
    content_name: str = ""

    @property
    def message_id(self) -> str:
        return self.message.message_id

    @property
    def size(self) -> int:
        """About how many bytes it has on the broker."""
        return len(self.arguments.get("raw", ""))

    @property
    def is_kept(self) -> bool:
        """Whether the source is kept in the file storage."""
        return bool(self.content_name)


def convert(
    message: Any, *, defaults: Mapping[str, Any], legacy: CeleryEmailSettings, settings: Settings
) -> ConvertedMail:
    """The mail that `message.message()` builds now, to whom `message.recipients()` names.

    `defaults` hold for what the message's own `mail_proxy` leaves open. Raises `InvalidMessage` for what cannot be
    sent, with the name that it has in Django's `EmailMessage`.
    """
    options = {**defaults, **message_options(message, legacy=legacy)}
    related = _related(options.pop("related", ()), settings)
    own_id = options.pop("message_id", None)
    source = _source(message)
    arguments = dump_arguments({**options, "from_email": str(message.from_email), **_recipients(message)})
    checked = _checked({**arguments, "raw": source}, str(uuid4() if own_id is None else own_id), settings)
    encoded = source.encode()
    mail = ConvertedMail(
        message=checked,
        arguments={**arguments, "raw": source},
        entry=_entry(checked, related=related, source=encoded, settings=settings),
        has_own_id=own_id is not None,
    )
    return _kept(mail, encoded) if 0 < settings.attachment_inline_bytes < len(encoded) else mail


def _source(message: Any) -> str:
    try:
        built = message.message()
    except InvalidMessage:
        raise
    except _BadHeaderError as exc:
        raise InvalidHeader("message", f"cannot be built: {exc}") from exc
    except Exception as exc:
        # Whatever is wrong with it, among several messages the error has to name its own.
        raise InvalidMessage("message", f"cannot be built ({type(exc).__name__}): {exc}") from exc
    # Django 6.1 refuses it; before, it went out for all to see.
    del built["Bcc"]
    if not isinstance(built.policy, EmailPolicy):
        # Before Django 6 its classes know best how to write themselves.
        return raw_text(built.as_bytes())
    # Long lines in UTF-8, as in `attachments.message_bytes`. Text is left as it is: in base64 its line ends would stay.
    rules = built.policy.clone(linesep="\n", max_line_length=0, utf8=True, cte_type="8bit")
    data = built.as_bytes(policy=rules)
    # Another charset than UTF-8 means nothing as text: then everything is brought to 7 bits.
    return raw_text(data if _is_utf8(data) else built)


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _recipients(message: Any) -> dict[str, list[str]]:
    """Who gets the mail. By the message's own attributes, so that an error names the right one."""
    fields = {name: [str(one) for one in getattr(message, name, None) or () if one] for name in ("to", "cc", "bcc")}
    everybody = [str(one) for one in message.recipients()]
    # A class of the user's own may name others.
    return fields if everybody == [*fields["to"], *fields["cc"], *fields["bcc"]] else {"to": everybody}


def _checked(arguments: Mapping[str, Any], message_id: str, settings: Settings) -> MailMessage:
    outgoing = one_outgoing((), arguments, settings=settings, message_id=message_id)
    # Only the encoding shows whether the proxy can express the mail; the caller is who can still change it.
    check_expressible(outgoing.message)
    return outgoing.message


def _related(value: Any, settings: Settings) -> tuple[Model, ...]:
    several = (value,) if isinstance(value, Model) or not isinstance(value, Iterable) else tuple(value)
    for one in several:
        if not isinstance(one, Model) or one.pk is None:
            raise InvalidMessage("related", f"must be a saved object or a list of such, got {type(one).__name__}")
    if several and not has_log(settings):
        raise InvalidMessage("related", "needs the log of emails: let MAIL_PROXY_STORE be 'django://'")
    return several


def _entry(message: MailMessage, *, related: tuple[Model, ...], source: bytes, settings: Settings) -> LogEntry:
    tenant_id, account_id = message.tenant_id, message.account_id
    # Here need not be known where the proxy is: a worker will fill in what is missing.
    with suppress(ConfigurationError):
        server = settings.server(message.server)
        tenant_id, account_id = tenant_id or server.tenant, account_id or server.account
    return LogEntry(
        message_id=message.message_id,
        sender=message.from_email,
        recipients=message.recipients,
        subject=message.subject,
        priority=message.priority,
        tenant_id=tenant_id,
        account_id=account_id,
        server=message.server,
        batch_code=message.batch_code,
        metadata=message.metadata,
        tags=message.tags,
        expires_at=message.expires_moment,
        return_path=message.return_path,
        related=related,
        content=source if settings.log_content else None,
    )


def _kept(mail: ConvertedMail, source: bytes) -> ConvertedMail:
    """The mail with its source to be kept in a file: the broker then has nothing of it but who gets it."""
    name = content.new_name()
    arguments = {key: value for key, value in mail.arguments.items() if key != "raw"}
    entry = replace(mail.entry, content_name=name)
    return replace(mail, arguments=arguments, entry=entry, source=source, content_name=name)
