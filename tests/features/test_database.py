"""What the database itself refuses, and what moves the policy epoch."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import IntegrityError, models, transaction

from apps.core.models import ForgottenCaller, PolicyEpoch
from apps.features import services
from apps.features.models import App, AppFeature, EndUser, PricingTerms, VirtualKey, VirtualSession
from apps.features.services import TermsInput
from tests.features.factories import ACTOR, NOW, make_app, make_feature, make_key, make_session, make_user

pytestmark = pytest.mark.django_db
WHO: dict[str, Any] = {"now": NOW, "actor": ACTOR}


def epoch() -> int:
    return PolicyEpoch.objects.get().number


def test_terms_can_be_neither_edited_nor_deleted() -> None:
    terms = PricingTerms.objects.filter(pk=make_app().terms_id)
    for change in (lambda: terms.update(markup_bps=1), lambda: terms.delete()):
        with pytest.raises((IntegrityError, models.ProtectedError)), transaction.atomic():
            change()
    with pytest.raises(IntegrityError, match="append-only"), transaction.atomic():
        PricingTerms.objects.create(created_at=NOW).delete()


@pytest.mark.parametrize(
    "fields",
    [
        {"platform_pricing": "free"},
        {"developer_pricing": "free"},
        {"markup_bps": -1},
        {"markup_bps": 1_000_001},
        {"share_bps": -1},
        {"share_bps": 10_001},
        *(
            {name: value}
            for name in ("fixed_price", "own_price", "gateway_fee", "byok_fee", "local_fee")
            for value in (-1, 10**15 + 1)
        ),
    ],
)
def test_terms_out_of_range_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(IntegrityError):
        PricingTerms.objects.create(created_at=NOW, **fields)


@pytest.mark.parametrize(
    ("model", "change"),
    [
        (App, {"status": "on"}),
        (App, {"anonymous_allowance": -1}),
        (AppFeature, {"status": "on"}),
        (AppFeature, {"max_output_tokens": 0}),
        (EndUser, {"status": "on"}),
    ],
)
def test_rows_out_of_range_are_refused(model: type[models.Model], change: dict[str, Any]) -> None:
    make_user(make_app())
    with pytest.raises(IntegrityError):
        model._default_manager.update(**change)


@pytest.mark.parametrize("model", [App, AppFeature, EndUser])
def test_rows_that_others_point_to_are_not_deleted(model: type[models.Model]) -> None:
    app = make_app()
    make_feature(app)
    make_session(app, feature_key="summarise")
    with pytest.raises(models.ProtectedError):
        model._default_manager.all().delete()


def test_epoch_stands_still_for_what_is_new_to_every_snapshot() -> None:
    app = make_app()
    before = epoch()
    make_user(app)
    make_session(app)
    make_key(app)
    assert epoch() == before


def test_epoch_moves_with_everything_that_must_act_at_once() -> None:
    app = make_app()
    feature = make_feature(app)
    changes = [
        lambda: services.update_app(app_id=app.id, name="Memo", **WHO),
        lambda: services.set_app_terms(app_id=app.id, terms=TermsInput(), **WHO),
        lambda: services.disable_app(app_id=app.id, **WHO),
        lambda: services.enable_app(app_id=app.id, **WHO),
        lambda: services.update_feature(feature_id=feature.id, max_output_tokens=5, **WHO),
        lambda: services.set_feature_terms(feature_id=feature.id, terms=TermsInput(), **WHO),
        lambda: services.disable_feature(feature_id=feature.id, **WHO),
        lambda: make_feature(app, "another"),
        lambda: make_app(app.developer_id),
    ]
    for number, change in enumerate(changes):
        before = epoch()
        change()
        assert epoch() > before, number


def test_what_is_taken_from_one_caller_is_told_of_that_caller_and_leaves_the_epoch_alone() -> None:
    app = make_app()
    user = make_user(app)
    opened, (_, key_id) = make_session(app, user), make_key(app)
    other = make_session(app, make_user(app, "bob"))
    session, key, person = ("session", opened.session_id), ("virtual_key", key_id), ("end_user", user)
    changes: list[tuple[Callable[[], object], list[tuple[str, str]]]] = [
        (lambda: services.disable_end_user(end_user_id=user, **WHO), [person]),
        (lambda: services.enable_end_user(end_user_id=user, **WHO), [person]),
        (lambda: services.revoke_session(session_id=opened.session_id, **WHO), [session]),
        (lambda: services.revoke_session(session_id=opened.session_id, **WHO), []),
        (lambda: services.revoke_virtual_key(key_id=key_id, **WHO), [key]),
        (
            lambda: VirtualSession.objects.update(expires_at=NOW + timedelta(seconds=1)),
            [session, ("session", other.session_id)],
        ),
        (lambda: VirtualKey.objects.all().delete(), [key]),
    ]
    before = epoch()
    for number, (change, told) in enumerate(changes):
        ForgottenCaller.objects.all().delete()
        change()
        assert sorted(ForgottenCaller.objects.values_list("kind", "subject_id")) == sorted(told), number
    assert epoch() == before
