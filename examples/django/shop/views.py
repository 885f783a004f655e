"""The shop's two pages: sign up, and what a customer has bought."""

from __future__ import annotations

from decimal import Decimal

from django import forms
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_POST

from celery_mailproxy.django.models import EmailLog

from .mails import send_invoice, send_welcome
from .models import Customer, Invoice


class SignUpForm(forms.ModelForm):
    """Who are you, and where do we write to?"""

    class Meta:
        model = Customer
        fields = ("name", "email")


def sign_up(request: HttpRequest) -> HttpResponse:
    form = SignUpForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        # The mail is published when the transaction is committed: no customer, no mail.
        with transaction.atomic():
            new_customer = form.save()
            send_welcome(new_customer)
        return redirect(new_customer)
    return render(request, "shop/sign_up.html", {"form": form})


def customer(request: HttpRequest, pk: int) -> HttpResponse:
    shown = get_object_or_404(Customer, pk=pk)
    mails = EmailLog.objects.for_object(shown).order_by("-created_at")
    return render(request, "shop/customer.html", {"customer": shown, "mails": mails})


@require_POST
def buy(request: HttpRequest, pk: int) -> HttpResponse:
    buyer = get_object_or_404(Customer, pk=pk)
    with transaction.atomic():
        send_invoice(Invoice.objects.create(customer=buyer, item="One teapot", amount=Decimal("19.90")))
    return redirect(buyer)
