"""`Publication`: the mails of one Celery task. `plan` makes them of a chunk of mails, `publish` hands them over.

`proxy_call` says which task that is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import uuid4

from celery import Celery

from ...conf.settings import Settings
from ...tasks import send_many_via_proxy, send_via_proxy
from ...tasks.sending.outbox import BROKER_ERRORS
from ..log import content
from ..log.entries import LogEntry
from ..log.opening import open_log
from .conversion import ConvertedMail
from .kept_tasks import discard_content, send_kept

__all__ = ["BROKER_ERRORS", "Call", "Publication", "keep", "plan", "proxy_call", "publish", "task_arguments"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Publication:
    """A task to be published: of one mail, or of several."""

    task_id: str
    mails: tuple[ConvertedMail, ...] = field(repr=False)

    @property
    def entries(self) -> list[LogEntry]:
        """What is to be logged of its mails."""
        return [replace(mail.entry, task_id=self.task_id) for mail in self.mails]


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A task with its id and its arguments."""

    task: Any
    task_id: str
    args: tuple[Any, ...] = field(default=(), repr=False)
    kwargs: Mapping[str, Any] = field(default_factory=dict, repr=False)


def plan(mails: Sequence[ConvertedMail]) -> list[Publication]:
    """The tasks that are to carry a chunk: one for all, and one for each mail that is kept off the broker.

    A task of one mail has the mail's id, by which its result is found; given ids are left to the mail alone.
    """
    together = [mail for mail in mails if not mail.is_kept]
    publications = [_alone(mail) for mail in mails if mail.is_kept]
    if len(together) == 1:
        publications.append(_alone(together[0]))
    elif together:
        # `send_many_via_proxy` numbers its tasks: this is the first of one.
        publications.append(Publication(task_id=f"{uuid4()}-0", mails=tuple(together)))
    return publications


def _alone(mail: ConvertedMail) -> Publication:
    return Publication(task_id=str(uuid4()) if mail.has_own_id else mail.message_id, mails=(mail,))


def proxy_call(publication: Publication, arguments: Sequence[Mapping[str, Any]], *, app: Celery) -> Call:
    """The task that submits the mails to the proxy; `arguments` are those of each mail."""
    task_id = publication.task_id
    if len(publication.mails) > 1:
        ids = [mail.message_id for mail in publication.mails]
        messages = [{**each, "message_id": own_id} for each, own_id in zip(arguments, ids, strict=True)]
        return Call(task=app.tasks[send_many_via_proxy.name], task_id=task_id, args=(messages,))
    (mail,), (given,) = publication.mails, arguments
    own_id = {"message_id": mail.message_id} if mail.has_own_id else {}
    task = send_kept if mail.is_kept else send_via_proxy
    return Call(task=app.tasks[task.name], task_id=task_id, kwargs={**given, **own_id})


def publish(
    publication: Publication,
    *,
    app: Celery,
    settings: Settings,
    options: Mapping[str, Any],
    call_of: Callable[..., Call] = proxy_call,
) -> None:
    """Hand the task over to the broker. Raises one of `BROKER_ERRORS`, and what the file storage raises."""
    with task_arguments(publication, app, settings) as arguments:
        call = call_of(publication, arguments, app=app)
        is_many = call.task.name == send_many_via_proxy.name
        # It numbers its tasks: this is the first of one.
        task_id = call.task_id.removesuffix("-0") if is_many else call.task_id
        call.task.apply_async(call.args, call.kwargs, task_id=task_id, **options)


@contextmanager
def task_arguments(publication: Publication, app: Celery, settings: Settings) -> Iterator[list[Mapping[str, Any]]]:
    """The arguments of each mail, with its source in the file storage where it is kept there.

    What was written is deleted again where the block raises: then no task will ask for it, or say that it has ended.
    """
    written: list[str] = []

    def arguments_of(mail: ConvertedMail) -> Mapping[str, Any]:
        if not mail.is_kept:
            return mail.arguments
        arguments = keep(mail, app, settings)
        written.append(arguments["content_name"])
        return arguments

    try:
        yield [arguments_of(mail) for mail in publication.mails]
    except Exception:
        content.discard(written)
        raise


def keep(mail: ConvertedMail, app: Celery, settings: Settings) -> dict[str, Any]:
    """Write the mail's source to the file storage; the arguments of its task."""
    name = content.keep(mail.content_name, mail.source)
    arguments = {**mail.arguments, "content_name": name}
    log = open_log(settings)
    if log is None:
        # Nobody else knows of the file. What is rejected ends in `on_error`, too.
        discard = app.signature(discard_content.name, args=(name,), immutable=True)
        for callback in ("on_sent", "on_error"):
            arguments[callback] = [*arguments.get(callback, ()), discard]
    elif name != mail.content_name:
        # The storage may choose another name than it is asked for.
        log.rename_content(mail.message_id, name)
    return arguments
