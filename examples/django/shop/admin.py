"""Customers and invoices in the admin, so that mails can link to what they are about."""

from __future__ import annotations

from django.contrib import admin

from .models import Customer, Invoice


@admin.register(Customer)
class CustomerAdmin(admin.ModelAdmin):
    list_display = ("name", "email", "is_reachable")


@admin.register(Invoice)
class InvoiceAdmin(admin.ModelAdmin):
    list_display = ("__str__", "customer", "item", "amount", "delivered_at")
