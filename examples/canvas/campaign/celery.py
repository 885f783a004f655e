"""The Celery application: `celery -A campaign worker --mailproxy-listen localhost:9100`.

Nothing here names a token: the proxy's address and the two tokens come from the environment (`MAIL_PROXY_URL`,
`MAIL_PROXY_TOKEN`, `MAIL_PROXY_SYNC_TOKEN`, …), as do other places for tasks (`CELERY_BROKER_URL`) and results
(`CELERY_RESULT_BACKEND`).
"""

from celery import Celery

app = Celery(
    "campaign",
    broker="redis://localhost:6379/0",
    backend="redis://localhost:6379/1",
    include=["campaign.tasks", "celery_mailproxy.tasks"],
)
app.conf.update(
    mail_proxy_from_email="The Shop <shop@example.com>",
    broker_connection_retry_on_startup=True,
    # Longer than a mail may take: a chord whose counters have expired never ends.
    result_expires=7 * 86400,
)
