"""`kept_content`: the content of a mail that the proxy has lost, as far as it is at hand."""

from __future__ import annotations

from ..conf import task_names
from ..deliveries.delivery import Delivery
from ..dispatch.resumer import arguments_of
from ..errors import MailProxyError
from ..runtime import Runtime
from ..tasks.sending.arguments import one_outgoing
from ..tasks.sending.outgoing import Outgoing
from ..tasks.sending.per_recipient import distribute

__all__ = ["kept_content"]

#: The task's own arguments, which are none of the mail's.
_OWN = ("collect", "per_recipient")


def kept_content(runtime: Runtime, delivery: Delivery) -> Outgoing | None:
    """The mail, from the arguments of a `deliver_via_proxy` whose result waits for it; None where there are none.

    Raises `StoreError`.
    """
    holder = delivery if delivery.parent_id is None else runtime.store.get(delivery.parent_id)
    suspension = None if holder is None else holder.suspension
    if holder is None or suspension is None:
        return None
    name, args, kwargs = arguments_of(suspension)
    if name != task_names.DELIVER or not (args or kwargs):
        return None
    arguments = {key: value for key, value in kwargs.items() if key not in _OWN}
    try:
        outgoing = one_outgoing(args, arguments, settings=runtime.settings, message_id=holder.message_id)
        found = [outgoing] if delivery is holder else distribute(outgoing)[1]
    except MailProxyError:
        # The settings have changed: it could not be sent today.
        return None
    return next((each for each in found if each.message.message_id == delivery.message_id), None)
