from collections.abc import Callable
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from apps.catalog.differences import price_differences, read_tiers
from apps.catalog.models import (
    Capability,
    Model,
    ModelOffer,
    PriceImport,
    PriceProposal,
    PriceTier,
    PriceVersion,
    Provider,
)
from apps.catalog.queries import prices_in_force
from apps.catalog.services import offers, proposals
from apps.catalog.services.prices import set_discount
from apps.core.admin_base import NamedValuesFilter, ReadOnlyAdmin, ServiceAdmin, actor_of, usd_column
from apps.core.clock import now
from apps.core.errors import BadRequest
from apps.core.outbound import check_url

_CHANGED = ("created_at", "created_by", "changed_at", "changed_by")


class ProviderForm(forms.ModelForm):
    terms_url = forms.URLField(max_length=500, required=False, assume_scheme="https", label=_("Terms"))

    def clean_base_url(self) -> str:
        base_url: str = self.cleaned_data["base_url"]
        try:
            check_url(base_url)
        except BadRequest as error:
            raise ValidationError(error.message) from error
        return base_url


@admin.register(Provider)
class ProviderAdmin(ServiceAdmin):
    form = ProviderForm
    list_display = (
        *("id", "name", "status", "adapter", "base_url"),
        *("resale_allowed", "byok_allowed", "white_label_allowed", "trains_on_data", "changed_at"),
    )
    list_filter = (
        *("status", "adapter", "resale_allowed", "byok_allowed", "white_label_allowed", "trains_on_data"),
        "keeps_cache_control",
    )
    search_fields = ("id", "name", "base_url")
    readonly_fields = ("status", *_CHANGED)
    actions = ("disable", "enable")

    def get_readonly_fields(self, request: HttpRequest, obj: Provider | None = None) -> tuple[str, ...]:
        return self.readonly_fields if obj is None else ("id", *self.readonly_fields)

    def save_model(self, request: HttpRequest, obj: Provider, form: forms.ModelForm, change: bool) -> None:
        if change:
            fields = {name: form.cleaned_data[name] for name in form.changed_data}
            offers.update_provider(obj.id, now=now(), actor=actor_of(request), **fields)
        else:
            offers.add_provider(now=now(), actor=actor_of(request), **form.cleaned_data)

    @admin.action(description=_("Disable: stop calling"), permissions=["operate"])
    def disable(self, request: HttpRequest, rows: QuerySet[Provider]) -> None:
        self.run(
            request, rows, lambda row: offers.disable_provider(row.id, now=now(), actor=actor_of(request)), "disabled"
        )

    @admin.action(description=_("Enable"), permissions=["operate"])
    def enable(self, request: HttpRequest, rows: QuerySet[Provider]) -> None:
        self.run(
            request, rows, lambda row: offers.enable_provider(row.id, now=now(), actor=actor_of(request)), "enabled"
        )


@admin.register(Model)
class ModelAdmin(ServiceAdmin):
    list_display = ("id", "name", "family", "created_at", "created_by")
    list_filter = (("family", NamedValuesFilter),)
    search_fields = ("id", "name", "family")
    readonly_fields = ("created_at", "created_by")

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def save_model(self, request: HttpRequest, obj: Model, form: forms.ModelForm, change: bool) -> None:
        offers.add_model(now=now(), actor=actor_of(request), **form.cleaned_data)


class OfferForm(forms.ModelForm):
    capabilities = forms.MultipleChoiceField(
        choices=Capability, widget=forms.CheckboxSelectMultiple, required=False, label=_("Capabilities")
    )

    discount_bps = forms.IntegerField(
        label=_("Discount"),
        min_value=0,
        max_value=10_000,
        required=False,
        help_text=_("Basis points off the list price for us. A change publishes the price in force once more."),
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.instance.pk is not None:
            price = prices_in_force([self.instance.pk], now=now()).get(self.instance.pk)
            self.fields["discount_bps"].initial = price.discount_bps if price is not None else 0

    def clean_task_quality(self) -> dict[str, int]:
        return self.cleaned_data["task_quality"] or {}


@admin.register(ModelOffer)
class ModelOfferAdmin(ServiceAdmin):
    form = OfferForm
    list_display = (
        *("id", "provider", "model", "upstream_model", "status", "priority", "quality", "image_tokens"),
        *("capabilities", "changed_at"),
    )
    list_filter = ("status", "provider", "tokenizer")
    list_select_related = ("provider", "model")
    search_fields = ("id", "provider__id", "model__id", "upstream_model")
    autocomplete_fields = ("provider", "model")
    readonly_fields = ("status", *_CHANGED)
    actions = ("disable", "enable")

    def get_readonly_fields(self, request: HttpRequest, obj: ModelOffer | None = None) -> tuple[str, ...]:
        if obj is None:
            return self.readonly_fields
        return ("provider", "model", "upstream_model", *self.readonly_fields)

    def get_fields(self, request: HttpRequest, obj: ModelOffer | None = None) -> Any:
        fields = super().get_fields(request, obj)
        return [name for name in fields if obj is not None or name != "discount_bps"]  # a new offer has no price yet

    def save_model(self, request: HttpRequest, obj: ModelOffer, form: forms.ModelForm, change: bool) -> None:
        fields = dict(form.cleaned_data)
        if change:
            fields = {name: fields[name] for name in form.changed_data}
            discount = fields.pop("discount_bps", None)
            with transaction.atomic():
                offers.update_offer(obj.id, now=now(), actor=actor_of(request), **fields)
                if discount is not None:
                    set_discount(obj.id, discount, now=now(), actor=actor_of(request))
        else:
            del fields["discount_bps"]
            fields |= {"provider": fields["provider"].id, "model": fields["model"].id}
            obj.id = offers.add_offer(now=now(), actor=actor_of(request), **fields)

    @admin.action(description=_("Disable: stop routing to it"), permissions=["operate"])
    def disable(self, request: HttpRequest, rows: QuerySet[ModelOffer]) -> None:
        self.run(
            request, rows, lambda row: offers.disable_offer(row.id, now=now(), actor=actor_of(request)), "disabled"
        )

    @admin.action(description=_("Enable"), permissions=["operate"])
    def enable(self, request: HttpRequest, rows: QuerySet[ModelOffer]) -> None:
        self.run(request, rows, lambda row: offers.enable_offer(row.id, now=now(), actor=actor_of(request)), "enabled")


_PER_MILLION = (
    usd_column("input", _("input, USD per million")),
    usd_column("cache_read", _("cache read, USD per million")),
    usd_column("cache_write", _("cache write, USD per million")),
    usd_column("output", _("output, USD per million")),
)


class PriceTierInline(admin.TabularInline):
    model = PriceTier
    ordering = ("from_tokens",)
    fields = readonly_fields = ("from_tokens", *_PER_MILLION)
    extra = 0
    can_delete = False

    def has_add_permission(self, request: HttpRequest, obj: PriceVersion | None = None) -> bool:
        return False


@admin.register(PriceVersion)
class PriceVersionAdmin(ReadOnlyAdmin):
    list_display = ("id", "offer", "valid_from", "discount_bps", "source", "created_at", "created_by")
    list_filter = ("source", "offer__provider")
    list_select_related = ("offer",)
    search_fields = ("id", "offer__upstream_model", "offer__model__id", "created_by")
    date_hierarchy = "valid_from"
    inlines = (PriceTierInline,)


@admin.register(PriceTier)
class PriceTierAdmin(ReadOnlyAdmin):
    list_display = ("version", "from_tokens", *_PER_MILLION)
    list_select_related = ("version",)
    search_fields = ("version__id", "version__offer__upstream_model")
    fields = readonly_fields = ("version", "from_tokens", *_PER_MILLION)


@admin.register(PriceImport)
class PriceImportAdmin(ReadOnlyAdmin):
    list_display = ("id", "source", "source_version", "state", "proposals_made", "reason", "created_at", "created_by")
    list_filter = ("state", "source")
    search_fields = ("source", "source_version", "reason", "created_by")


class ProposalForm(forms.ModelForm):
    """An operator's own price: one line per tier, in USD per million tokens."""

    tiers = forms.CharField(
        widget=forms.Textarea(attrs={"rows": 4, "cols": 60}),
        label=_("Tiers"),
        help_text=_(
            "One line per tier, in USD per million tokens: prompt tokens from which it applies, input, output, and "
            "where they differ from input: cache read, cache write. Example: 0 0.15 0.60 0.075"
        ),
    )

    class Meta:
        model = PriceProposal
        fields = ("offer", "valid_from")

    def clean_tiers(self) -> tuple[Any, ...]:
        try:
            return read_tiers(self.cleaned_data["tiers"])
        except BadRequest as error:
            raise ValidationError(error.message) from error

    def clean_offer(self) -> ModelOffer:
        offer: ModelOffer | None = self.cleaned_data["offer"]
        if offer is None:
            raise ValidationError(_("Which offer is this the price of?"))
        return offer


# A page that decides about more at once is not read.
MOST_REVIEWED = 100
_DECIDE: dict[str, Callable[..., object]] = {"approve": proposals.approve_proposal, "reject": proposals.reject_proposal}


@admin.register(PriceProposal)
class PriceProposalAdmin(ServiceAdmin):
    change_list_template = "catalog/admin/proposals.html"
    change_form_template = "catalog/admin/proposal.html"
    list_display = ("id", "provider", "upstream_model", "valid_from", "difference", "state", "source", "created_at")
    list_filter = ("state", "provider", "source")
    list_select_related = ("provider",)
    search_fields = ("id", "upstream_model", "offer__model__id", "decided_by", "price_version__id")
    ordering = ("-created_at", "id")
    actions = ("review",)
    autocomplete_fields = ("offer",)
    fields = (
        *("id", "state", "source", "provider", "upstream_model", "offer", "valid_from", "difference", "remarks"),
        *("created_at", "created_by", "decided_at", "decided_by", "reason", "price_version"),
    )

    def get_form(
        self, request: HttpRequest, obj: PriceProposal | None = None, change: bool = False, **options: Any
    ) -> type[forms.ModelForm]:
        if obj is None:
            options["form"] = ProposalForm
        return super().get_form(request, obj, change, **options)

    def get_fields(self, request: HttpRequest, obj: PriceProposal | None = None) -> tuple[str, ...]:
        return ("offer", "valid_from", "tiers") if obj is None else self.fields

    def has_change_permission(self, request: HttpRequest, obj: PriceProposal | None = None) -> bool:
        return False

    def save_model(self, request: HttpRequest, obj: PriceProposal, form: forms.ModelForm, change: bool) -> None:
        given = form.cleaned_data
        obj.id = proposals.propose_price(
            given["offer"].id, given["tiers"], valid_from=given["valid_from"], now=now(), actor=actor_of(request)
        )

    @admin.display(description=_("USD per million tokens"))
    def difference(self, row: PriceProposal) -> SafeString:
        lines = (
            (_("from %s tokens: ") % f"{item.from_tokens:,}" if item.from_tokens else "", *item.texts)
            for item in price_differences(row.current, row.proposed)
        )
        return format_html_join("", "<div>{}{}: {} → <strong>{}</strong> {}</div>", lines)

    @admin.display(description=_("Notes"))
    def remarks(self, row: PriceProposal) -> SafeString:
        return format_html("<ul>{}</ul>", format_html_join("", "<li>{}</li>", ((note,) for note in row.notes)))

    @admin.action(description=_("Review and decide"), permissions=["operate"])
    def review(self, request: HttpRequest, rows: QuerySet[PriceProposal]) -> HttpResponse:
        ids = list(rows.values_list("pk", flat=True)[:MOST_REVIEWED])
        return HttpResponseRedirect(reverse("admin:catalog_priceproposal_review", query={"id": ids}))

    def get_urls(self) -> list[Any]:
        review = path("review/", self.admin_site.admin_view(self.review_view), name="catalog_priceproposal_review")
        return [review, *super().get_urls()]

    def review_view(self, request: HttpRequest) -> HttpResponse:
        """Show proposals old against new, the largest change first; POST decides about those that are ticked.

        Approving a large change takes a second look: the page comes again with these alone, and a box to tick.
        """
        if not self.has_view_permission(request):
            raise PermissionDenied
        given = request.POST if request.method == "POST" else request.GET
        rows = PriceProposal.objects.filter(state=PriceProposal.State.PENDING).select_related("provider", "offer")
        ids = [key for key in given.getlist("id") if len(key) <= 40 and "\0" not in key]
        if ids or request.method == "POST":
            rows = rows.filter(pk__in=ids)
        lines = sorted((_reviewed(row) for row in rows), key=lambda line: (-line["size"], line["row"].pk))
        left_out, lines = max(len(lines) - MOST_REVIEWED, 0), lines[:MOST_REVIEWED]
        decision, reason = request.POST.get("decision", ""), request.POST.get("reason", "").strip()[:500]
        confirm = False
        if request.method == "POST":
            if not self.has_operate_permission(request):
                raise PermissionDenied
            large = decision == "approve" and any(line["large"] for line in lines)
            confirm = large and not request.POST.get("confirmed")
            if decision not in _DECIDE or not ids:
                self.message_user(request, gettext("Tick what you decide about, then say what."), messages.ERROR)
                return HttpResponseRedirect(request.get_full_path())
            if not confirm:
                # Also those that were decided meanwhile: the service says so.
                who = {"actor": actor_of(request), "reason": reason}
                decided = PriceProposal.objects.filter(pk__in=ids)
                done = gettext("approved") if decision == "approve" else gettext("rejected")
                self.run(request, decided, lambda row: _DECIDE[decision](row.pk, now=now(), **who), done)
                return HttpResponseRedirect(reverse("admin:catalog_priceproposal_review"))
            self.message_user(request, gettext("Confirm the large changes."), messages.WARNING)
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": gettext("Price proposals"),
            "lines": lines,
            "left_out": left_out,
            "confirm": confirm,
            "reason": reason,
            "asked": set(ids),
            "may_decide": self.has_operate_permission(request),
        }
        return TemplateResponse(request, "catalog/admin/review.html", context)


def _reviewed(row: PriceProposal) -> dict[str, Any]:
    differences = list(price_differences(row.current, row.proposed))
    return {
        "row": row,
        "differences": differences,
        "size": max((each.size for each in differences), default=0.0),
        "large": any(each.large for each in differences),
        "first": row.current is None,
    }
