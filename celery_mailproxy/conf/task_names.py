"""The names of our Celery tasks, in one place: they travel on brokers, and applications route by them."""

from __future__ import annotations

__all__ = [
    "DELIVER",
    "DELIVER_FROM_CHUNK",
    "DISCARD_CONTENT",
    "DISPATCH",
    "DISPATCH_STALLED",
    "HEAL",
    "MAINTAIN",
    "PRUNE",
    "REPLAY_HANDLERS",
    "RESUME_STALLED",
    "SEND",
    "SEND_DEAD_LETTER",
    "SEND_KEPT",
    "SEND_MANY",
    "SEND_MIGRATING",
    "STORE_RESULT",
]

SEND = "celery_mailproxy.send_via_proxy"
SEND_MANY = "celery_mailproxy.send_many_via_proxy"
DELIVER = "celery_mailproxy.deliver_via_proxy"
#: A mail of `deliver_many_via_proxy`.
DELIVER_FROM_CHUNK = "celery_mailproxy.deliver_from_chunk"

#: Published by the receiver, which need not import the task.
DISPATCH = "celery_mailproxy.dispatch_reports"

#: Published for a mail that the proxy has damaged.
HEAL = "celery_mailproxy.heal_mail"

#: Published for a result that the backend did not take.
STORE_RESULT = "celery_mailproxy.store_result"

# For Celery beat.
MAINTAIN = "celery_mailproxy.maintain"
PRUNE = "celery_mailproxy.prune_deliveries"
DISPATCH_STALLED = "celery_mailproxy.dispatch_stalled"
RESUME_STALLED = "celery_mailproxy.resume_stalled"

# Of `celery_mailproxy.django`.
SEND_KEPT = "celery_mailproxy.send_kept"
SEND_MIGRATING = "celery_mailproxy.send_migrating"
SEND_DEAD_LETTER = "celery_mailproxy.send_dead_letter"
DISCARD_CONTENT = "celery_mailproxy.discard_content"
REPLAY_HANDLERS = "celery_mailproxy.replay_handlers"
