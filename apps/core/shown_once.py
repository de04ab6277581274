"""The page that shows a new token once."""

from typing import Any

from django.contrib.admin import ModelAdmin
from django.http import HttpRequest
from django.template.response import TemplateResponse
from django.urls import reverse


def show_once(
    admin: "ModelAdmin[Any]", request: HttpRequest, subject: object, secret: str, title: str
) -> TemplateResponse:
    """Answer with the page that holds `secret`.

    It is the answer to the POST itself: a flash message would pass through a cookie or the session table.
    """
    options = admin.opts
    context = {
        **admin.admin_site.each_context(request),
        "opts": options,
        "title": title,
        "subject": subject,
        "secret": secret,
        "list_url": reverse(f"{admin.admin_site.name}:{options.app_label}_{options.model_name}_changelist"),
    }
    response = TemplateResponse(request, "core/shown_once.html", context)
    response["Cache-Control"] = "no-store, private"
    return response
