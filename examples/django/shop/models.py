"""Customers and their invoices."""

from __future__ import annotations

from django.db import models
from django.urls import reverse


class Customer(models.Model):
    """Somebody who has signed up."""

    name = models.CharField(max_length=100)
    email = models.EmailField()
    is_reachable = models.BooleanField(default=True)

    def __str__(self) -> str:
        return self.name

    def get_absolute_url(self) -> str:
        return reverse("customer", args=[self.pk])


class Invoice(models.Model):
    """What a customer has bought; `delivered_at` is when an SMTP server took the mail with it."""

    customer = models.ForeignKey(Customer, on_delete=models.CASCADE, related_name="invoices")
    item = models.CharField(max_length=100)
    amount = models.DecimalField(max_digits=8, decimal_places=2)
    delivered_at = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        return f"Invoice {self.pk}"
