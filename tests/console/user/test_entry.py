"""The way in: a link that opens an end user's pages once, and everybody for whom it opens nothing."""

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client

from apps.core.clock import now
from apps.features.models import PageLink, VirtualSession
from apps.features.services.end_users import disable_end_user
from apps.features.services.page_links import KEPT, LINK_SECONDS, purge_page_links
from apps.features.services.tokens import revoke_session
from tests.console.factories import Page
from tests.console.user.factories import (
    NAMED,
    OPEN,
    ORIGIN,
    Visitor,
    allow_origin,
    make_anonymous,
    other_user,
)
from tests.live import ACTOR

pytestmark = pytest.mark.django_db
CLOSED = "This page is closed"


def ancestors(response: Any) -> str:
    policy = dict(part.strip().split(" ", 1) for part in response["Content-Security-Policy"].split(";") if part.strip())
    return policy["frame-ancestors"]


@pytest.mark.parametrize("path", [*OPEN, *NAMED])
def test_user_sees_every_page_and_a_stranger_none(visitor: Visitor, path: str) -> None:
    assert visitor.get(path).status_code == 200
    stranger = Client().get(visitor.base + path)
    assert (stranger.status_code, CLOSED in stranger.content.decode()) == (401, True)


@pytest.mark.parametrize("path", [*OPEN, *NAMED])
def test_pages_take_no_more_than_twelve_queries(
    visitor: Visitor, path: str, django_assert_max_num_queries: Any
) -> None:
    with django_assert_max_num_queries(12):
        visitor.get(path)


def test_cookie_is_signed_for_one_link_alone(visitor: Visitor) -> None:
    other = other_user(visitor)
    cookie = other.browser.cookies["mf_me"]
    assert (cookie["httponly"], cookie["path"], cookie["samesite"]) == (True, other.base, "Lax")
    assert 0 < int(cookie["max-age"]) <= 3600
    thief = Client()
    thief.cookies["mf_me"] = cookie.value
    assert thief.get(other.base).status_code == 200
    assert thief.get(visitor.base).status_code == 401
    assert other.browser.get(visitor.base).status_code == 401


def test_link_opens_once(visitor: Visitor) -> None:
    link = visitor.link()
    assert Client().head(link).status_code == 405
    assert Client().get(link, headers={"sec-purpose": "prefetch;prerender"}).status_code == 503
    assert Client().get(link).status_code == 302
    again = Client().get(link)
    assert (again.status_code, CLOSED in again.content.decode()) == (401, True)
    assert Client().get("/me/open/mf_page_nothing").status_code == 401


def test_link_is_soon_too_old(visitor: Visitor) -> None:
    link = visitor.link()
    made = PageLink.objects.order_by("-id")[0]
    assert made.expires_at - made.created_at == timedelta(seconds=LINK_SECONDS)
    before = made.created_at - timedelta(hours=1)
    PageLink.objects.filter(pk=made.pk).update(created_at=before, expires_at=before + timedelta(seconds=LINK_SECONDS))
    assert Client().get(link).status_code == 401
    assert made.code_hash not in link


def test_link_of_an_ended_session_opens_nothing(visitor: Visitor) -> None:
    link = visitor.link()
    revoke_session(session_id=visitor.session_id, now=now(), actor=ACTOR)
    assert Client().get(link).status_code == 401


def test_revoked_session_ends_its_pages(visitor: Visitor) -> None:
    revoke_session(session_id=visitor.session_id, now=now(), actor=ACTOR)
    for path in (*OPEN, *NAMED):
        assert visitor.get(path).status_code == 401
    assert visitor.browser.post(f"{visitor.base}limits", {"daily": "1"}).status_code == 401


def test_expired_session_and_disabled_user_end_them_too(visitor: Visitor) -> None:
    other = other_user(visitor)
    disable_end_user(end_user_id=other.world.end_user_id, now=now(), actor=ACTOR)
    assert other.get().status_code == 403
    moment = now()
    VirtualSession.objects.filter(pk=visitor.session_id).update(
        created_at=moment - timedelta(hours=2), expires_at=moment - timedelta(seconds=1)
    )
    assert visitor.get().status_code == 401


def test_pages_close_after_an_hour(visitor: Visitor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("apps.console.user.access.MOST_SECONDS", -1)
    assert visitor.get().status_code == 401


def test_anonymous_device_sees_balance_and_calls_alone(visitor: Visitor) -> None:
    device = make_anonymous(visitor)
    for path in OPEN:
        assert device.get(path).status_code == 200
    for path in NAMED:
        assert device.get(path).status_code == 403
    assert "/buy" not in device.text()
    assert "Sign in at the app first" in device.get("keys").content.decode()


def test_nobody_frames_a_page(visitor: Visitor) -> None:
    allow_origin(visitor, ORIGIN)
    page = visitor.get()
    assert (ancestors(page), page["X-Frame-Options"]) == ("'none'", "DENY")


def test_apps_pages_frame_what_was_opened_for_them(visitor: Visitor) -> None:
    allow_origin(visitor, ORIGIN, "http://localhost:3000")
    visitor.enter(embed=True)
    for path in ("", "keys", "buy"):
        page = visitor.get(path)
        assert ancestors(page) == f"{ORIGIN} http://localhost:3000"
        assert "X-Frame-Options" not in page
    assert "<footer" not in visitor.text()
    refused = visitor.browser.post(f"{visitor.base}limits", {"daily": "1"})
    assert (refused.status_code, ancestors(refused)) == (403, f"{ORIGIN} http://localhost:3000")


def test_app_without_origins_is_not_embedded(visitor: Visitor) -> None:
    visitor.enter(embed=True)
    page = visitor.get()
    assert (ancestors(page), page["X-Frame-Options"]) == ("'none'", "DENY")


def test_cookie_of_a_frame_is_partitioned_over_tls(visitor: Visitor) -> None:
    allow_origin(visitor, ORIGIN)
    cookie = visitor.enter(embed=True, secure=True).cookies["mf_me"].OutputString()
    assert "SameSite=None; Partitioned" in cookie
    assert "Secure" in cookie
    assert "SameSite=Lax" in visitor.enter(embed=True).cookies["mf_me"].OutputString()


def test_form_without_its_token_does_nothing(visitor: Visitor) -> None:
    other = other_user(visitor)
    for token in ("", "0" * 64, "é", other.token()):
        answered = visitor.browser.post(f"{visitor.base}limits", {"daily": "1", "form": token})
        assert (answered.status_code, "open too long" in answered.content.decode()) == (403, True)
    assert "Today" not in visitor.text("limits")
    assert visitor.post("limits", {"daily": "1"}).status_code == 302
    assert "Today" in visitor.text("limits")


def test_pages_hold_nothing_inline_and_are_not_kept(visitor: Visitor) -> None:
    for path in (*OPEN, *(path for path in NAMED if not path.endswith("json"))):
        answered = visitor.get(path)
        assert Page(answered.content.decode()).inline == []
        assert "no-store" in answered["Cache-Control"]


def test_old_links_are_deleted(visitor: Visitor) -> None:
    assert purge_page_links(now=now()) == 0
    assert purge_page_links(now=now() + KEPT + timedelta(seconds=LINK_SECONDS + 5)) == PageLink.objects.count() + 1
