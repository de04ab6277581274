"""Pages for developers and end users."""

from django.urls import URLPattern, path
from django.views.i18n import set_language

from apps.console import contacts, top_ups, views

urlpatterns: list[URLPattern] = [
    path("", views.home, name="home"),
    path("language", set_language, name="language"),
    path("contacts", contacts.contacts_page, name="contacts"),
    path("acceptable-use", contacts.acceptable_use, name="acceptable-use"),
    path("demo/session", views.demo_session, name="demo-session"),
    path("demo/wallet", views.demo_wallet, name="demo-wallet"),
    path("demo/state", views.demo_state, name="demo-state"),
    path("top-ups/<str:top_up_id>/done", top_ups.done, name="top-up-done"),
    path("top-ups/<str:top_up_id>/canceled", top_ups.canceled, name="top-up-canceled"),
]
