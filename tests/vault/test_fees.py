from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction

from apps.core.errors import Conflict
from apps.features.queries import Terms
from apps.vault import queries, services
from apps.vault.disclosures import disclosure
from apps.vault.models import FeeConsent
from tests.features.factories import NOW

pytestmark = pytest.mark.django_db


def terms(**fees: int) -> Terms:
    values: dict[str, Any] = dict.fromkeys(Terms.__dataclass_fields__, 0)
    return Terms(**{**values, "platform_pricing": "markup", "developer_pricing": "fee", **fees})


def take_note(fee: int, present: Terms, *, mode: str = "byok", user: str = "usr_1", language: str = "en") -> None:
    services.acknowledge_fee(
        end_user_id=user, app_id="app_1", terms=present, mode=mode, fee=fee, language=language, now=NOW
    )


@pytest.mark.parametrize("language", ["en", "zh-hans", "zh", "fr"])
@pytest.mark.parametrize(("mode", "fee"), [("byok", 1_500_000), ("local", 2_000_000)])
def test_disclosure_names_the_fee_that_is_charged(mode: str, fee: int, language: str) -> None:
    told = disclosure(terms(byok_fee=1_500_000, local_fee=2_000_000), mode, language=language)
    assert told.fee == fee
    assert {1_500_000: "0.0015", 2_000_000: "0.0020"}[fee] in told.text
    assert ("网关费" in told.text) == language.startswith("zh")
    free = disclosure(terms(), mode, language=language)
    assert free.fee == 0
    assert "0.00" not in free.text


def test_highest_acknowledged_fee_is_known_by_mode() -> None:
    assert queries.consents_of("usr_1") == {}
    take_note(0, terms())
    assert queries.consents_of("usr_1") == {"byok": 0}
    take_note(7, terms(byok_fee=7))
    take_note(3, terms(byok_fee=3))
    take_note(5, terms(local_fee=5), mode="local")
    take_note(9, terms(byok_fee=9), user="usr_2")
    assert queries.consents_of("usr_1") == {"byok": 7, "local": 5}


@pytest.mark.parametrize("fee", [0, 6, 8])
def test_other_than_the_present_fee_is_refused(fee: int) -> None:
    with pytest.raises(Conflict) as caught:
        take_note(fee, terms(byok_fee=7))
    assert caught.value.code == "fee_changed"
    assert caught.value.details is not None
    assert caught.value.details["fee_usd"] == "0.000000007"
    assert not FeeConsent.objects.exists()


def test_same_note_twice_is_one_row_and_other_words_are_another() -> None:
    for _ in range(2):
        take_note(7, terms(byok_fee=7))
    assert FeeConsent.objects.count() == 1
    take_note(7, terms(byok_fee=7), language="zh-hans")
    assert FeeConsent.objects.count() == 2


@pytest.mark.parametrize(
    "statement",
    ["UPDATE fee_consents SET fee_nano = 1", "DELETE FROM fee_consents", "UPDATE fee_consents SET text = 'x'"],
)
def test_consents_are_append_only(statement: str) -> None:
    take_note(7, terms(byok_fee=7))
    with pytest.raises(IntegrityError), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement)


def test_note_taken_makes_gateways_forget_the_end_user() -> None:
    take_note(7, terms(byok_fee=7))
    with connection.cursor() as cursor:
        cursor.execute("SELECT kind, subject_id FROM forgotten_callers")
        assert cursor.fetchall() == [("end_user", "usr_1")]
