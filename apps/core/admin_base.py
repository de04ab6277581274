"""What every room's admin is built on: rows change only through services, and nothing is deleted."""

from collections.abc import Callable
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from apps.core.errors import FaucetError
from apps.core.money import MoneyProblem, nano_from_usd, usd


def actor_of(request: HttpRequest) -> str:
    """Return the name under which columns and audit events know the operator."""
    return f"user:{request.user.pk}"


class UsdField(forms.CharField):
    """Ask for an amount in USD, as a decimal; its initial and its cleaned value are nano-USD."""

    def __init__(self, **options: Any) -> None:
        options = {"max_length": 30, "initial": 0, "help_text": gettext_lazy("USD, such as 0.0015."), **options}
        super().__init__(**options)

    def prepare_value(self, value: Any) -> Any:
        return usd(value) if isinstance(value, int) else value

    def clean(self, value: Any) -> int:
        text = super().clean(value)
        try:
            amount = nano_from_usd(text or "0")
        except MoneyProblem:
            raise forms.ValidationError(_("An amount in USD with at most nine decimal places.")) from None
        if amount < 0:
            raise forms.ValidationError(_("An amount that is not negative."))
        return amount

    def has_changed(self, initial: Any, data: Any) -> bool:
        try:
            return nano_from_usd((data or "").strip() or "0") != (initial or 0)
        except MoneyProblem:
            return True


def usd_column(name: str, label: Any) -> Any:
    """Return a column that shows a field of nano-USD in USD, under `label`."""

    @admin.display(description=label, ordering=name)
    def column(row: Any) -> str:
        return usd(getattr(row, name) or 0)

    column.__name__ = f"{name}_usd"
    return column


def id_column(name: str, label: Any) -> Any:
    """Return a column that shows the key of a related row as it is stored, under `label`: no row is fetched for it."""

    @admin.display(description=label, ordering=name)
    def column(row: Any) -> Any:
        return getattr(row, name)

    column.__name__ = f"{name}_shown"
    return column


class NamedValuesFilter(admin.AllValuesFieldListFilter):
    """A filter by the values of a text, in which the empty one is a dash: a link without a word is none."""

    def choices(self, changelist: Any) -> Any:
        return ({**choice, "display": choice["display"] or "–"} for choice in super().choices(changelist))


class ServiceAdmin(admin.ModelAdmin):
    """An admin whose forms and actions call services; a refusal becomes a message.

    An action that changes something takes `permissions=["operate"]`: whoever may change the table may run it, also
    where the form itself is read-only.
    """

    list_per_page = 50
    show_full_result_count = False
    actions_on_bottom = True

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_operate_permission(self, request: HttpRequest) -> bool:
        options = self.opts
        return request.user.has_perm(f"{options.app_label}.change_{options.model_name}")

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        try:
            return super().changeform_view(request, object_id, form_url, extra_context)
        except FaucetError as error:
            self.message_user(request, error.message, messages.ERROR)
            return HttpResponseRedirect(request.get_full_path())

    def run(self, request: HttpRequest, rows: QuerySet[Any], service: Callable[[Any], object], done: str) -> None:
        """Call `service` once for each row, log it as `done`, and report the rows that were refused."""
        count = 0
        for row in rows:
            try:
                service(row)
            except FaucetError as error:
                self.message_user(request, f"{row}: {error.message}", messages.ERROR)
                continue
            self.log_change(request, row, done)
            count += 1
        if count:
            self.message_user(request, _("%(count)d × %(done)s") % {"count": count, "done": done}, messages.SUCCESS)


class ReadOnlyAdmin(ServiceAdmin):
    """An admin for tables that only services write."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False
