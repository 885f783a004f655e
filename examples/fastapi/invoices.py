"""A FastAPI application that mails invoices, takes the proxy's delivery reports itself and hands out the PDFs.

## Run it

With a Redis on this machine and a genro-mail-proxy, whose tenant `shop` has an account `main`:

    $ pip install "celery-mailproxy[redis]" fastapi uvicorn
    $ export MAIL_PROXY_URL=http://localhost:8000 MAIL_PROXY_TOKEN=the-proxys-token
    $ export MAIL_PROXY_TENANT=shop MAIL_PROXY_ACCOUNT=main MAIL_PROXY_SYNC_TOKEN=a-token-of-your-own
    $ celery -A invoices worker --loglevel INFO
    $ uvicorn invoices:web --port 9100

The worker and the web process run in this folder, each with the exports. In the proxy the tenant's base URL is
`http://localhost:9100`, its attachment path `/mail-proxy/attachments`, and its authentication the Bearer token from
`MAIL_PROXY_SYNC_TOKEN`. Then:

    $ curl -sSf -X POST "localhost:9100/invoices/7?customer=ann@example.com"
    {"message_id":"3c0…"}
    $ curl -sSf localhost:9100/mails/3c0…
    {"status":"sent","ended_at":"2026-03-01T09:30:00Z","reason":null}

## What happens

The web process publishes a task and answers at once. The worker submits the mail, in which the invoice is a reference:
`invoice_id=7`. The proxy asks `/mail-proxy/attachments` for it, and `render` below gives the content. When the mail is
sent, the proxy reports to `/mail-proxy/sync`; the web process hands the report to the worker, where the signal fires.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from celery import Celery
from celery.utils.log import get_task_logger
from fastapi import FastAPI, HTTPException

from celery_mailproxy import Attachment, attachment_resolver, get_delivery, send_via_proxy
from celery_mailproxy.dispatch import signals
from celery_mailproxy.receiver.asgi import create_app

logger = get_task_logger(__name__)

celery = Celery("invoices", broker="redis://localhost:6379/0", include=["celery_mailproxy.tasks"])
celery.conf.update(mail_proxy_from_email="The Shop <shop@example.com>", broker_connection_retry_on_startup=True)
celery.set_default()

web = FastAPI(title="Invoices")


@web.post("/invoices/{invoice_id}", status_code=202)
def send_invoice(invoice_id: int, customer: str) -> dict[str, str]:
    """Mail an invoice. The message id is that of the task."""
    result = send_via_proxy.delay(
        to=[customer],
        subject=f"Invoice {invoice_id}",
        body="Please find our invoice attached.",
        attachments=[Attachment.from_endpoint(f"invoice_id={invoice_id}", filename=f"invoice-{invoice_id}.pdf")],
    )
    return {"message_id": result.id}


@web.get("/mails/{message_id}")
def show_mail(message_id: str) -> dict[str, str | datetime | None]:
    """What became of a mail."""
    delivery = get_delivery(message_id)
    if delivery is None:
        raise HTTPException(404, "no such mail")
    return {"status": delivery.status.value, "ended_at": delivery.ended_at, "reason": delivery.reason}


@attachment_resolver("invoice_id")
def render(params: dict[str, str], tenant: str | None) -> bytes:
    """Called when the proxy fetches `invoice_id=…`."""
    return f"%PDF-1.7\n% invoice {int(params['invoice_id'])}\n".encode()


@signals.mail_sent.connect
def on_sent(report: Any, **kwargs: Any) -> None:
    logger.info("mail %s was sent", report.message_id)


# Last: what no route above has claimed goes to the receiver, which answers at /mail-proxy/… and /health.
web.mount("/", create_app(celery))
