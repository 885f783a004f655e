"""The mails that the shop sends."""

from __future__ import annotations

from django.core.mail import EmailMultiAlternatives
from django.utils.html import format_html

from celery_mailproxy.django import send_mail

from .models import Customer, Invoice
from .pdf import pdf_page
from .tasks import mark_delivered


def send_welcome(customer: Customer) -> None:
    """Greet a new customer. `related` makes the mail findable by what it is about."""
    html = format_html("<h1>Welcome, {}!</h1><p>It is good to have you. The kettle is on.</p>", customer.name)
    send_mail(
        f"Welcome, {customer.name}!",
        "It is good to have you. The kettle is on.",
        None,
        [customer.email],
        html_message=html,
        related=customer,
    )


def send_invoice(invoice: Invoice) -> None:
    """Mail an invoice; once it is sent, `mark_delivered` runs."""
    mail = EmailMultiAlternatives(
        subject=f"Your invoice {invoice.pk}",
        body=f"Thank you for your order: {invoice.item}, {invoice.amount} EUR.",
        to=[invoice.customer.email],
    )
    mail.attach(
        f"invoice-{invoice.pk}.pdf", pdf_page(f"{invoice}: {invoice.item}, {invoice.amount} EUR"), "application/pdf"
    )
    mail.mail_proxy = {  # type: ignore[attr-defined]  # the backend reads it
        "priority": "high",
        "on_sent": mark_delivered.s(invoice.pk),
        "related": [invoice, invoice.customer],
    }
    mail.send()
