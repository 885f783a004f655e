"""The Celery application: `celery -A shop worker --mailproxy-listen 127.0.0.1:9100`.

Nothing here names a token. The proxy's address and the two tokens come from the environment (`MAIL_PROXY_URL`,
`MAIL_PROXY_TOKEN`, `MAIL_PROXY_SYNC_TOKEN`, …), as does another broker (`CELERY_BROKER_URL`).
"""

from celery import Celery

app = Celery("shop", broker="redis://localhost:6379/0", include=["shop.tasks", "shop.handlers"])
app.conf.update(
    mail_proxy_from_email="The Shop <shop@example.com>",
    broker_connection_retry_on_startup=True,
)
