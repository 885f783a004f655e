"""The suppression list in Django's admin: to be searched, added to, and removed from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from ...deliveries.report import utcnow
from ...mail.addresses import address_key
from ..log.suppressed import SuppressedEmail

__all__ = ["SuppressedEmailAdmin"]

if TYPE_CHECKING:
    _ModelAdmin = admin.ModelAdmin[SuppressedEmail]
    _ModelForm = forms.ModelForm[SuppressedEmail]
else:
    _ModelAdmin = admin.ModelAdmin
    _ModelForm = forms.ModelForm


class _AddressForm(_ModelForm):
    class Meta:
        model = SuppressedEmail
        fields = ("address",)

    def clean_address(self) -> str:
        address = address_key(self.cleaned_data["address"])
        if address is None:
            raise forms.ValidationError(_("Enter one mail address, such as name@example.com."))
        return address


@admin.register(SuppressedEmail)
class SuppressedEmailAdmin(_ModelAdmin):
    """An address can be added and removed, not changed: it would say something else of another one."""

    form = _AddressForm
    list_display = ("address", "cause", "at", "message_id")
    list_filter = ("cause",)
    search_fields = ("address",)
    ordering = ("address", "cause")
    show_full_result_count = False

    def has_change_permission(self, request: HttpRequest, obj: SuppressedEmail | None = None) -> bool:
        return False

    def has_view_permission(self, request: HttpRequest, obj: SuppressedEmail | None = None) -> bool:
        # As without the above: whoever may remove an address has to find it.
        opts = self.opts
        user: Any = request.user
        return any(user.has_perm(f"{opts.app_label}.{each}_{opts.model_name}") for each in ("view", "change", "delete"))

    def get_search_results(self, request: HttpRequest, queryset: Any, search_term: str) -> Any:
        # As they are kept: in small letters, the domain in ASCII.
        return super().get_search_results(request, queryset, address_key(search_term) or search_term.lower())

    def save_model(self, request: HttpRequest, obj: SuppressedEmail, form: Any, change: bool) -> None:
        known = self.get_queryset(request).filter(address=obj.address, cause=obj.cause).first()
        if known is not None:
            # It is there as wanted: to add it again is no mistake.
            obj.pk, obj.at = known.pk, known.at
            return
        obj.at = utcnow()
        super().save_model(request, obj, form, change)
