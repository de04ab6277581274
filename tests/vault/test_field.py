"""Each way in which django-encrypted-model-fields fails open, shut."""

import copy
import json
import logging
import pickle
from typing import Any

import pytest
from cryptography.fernet import Fernet
from django import forms
from django.core import serializers
from django.core.checks import Error
from django.core.exceptions import FieldError
from django.db import IntegrityError, connection, models, transaction
from django.db.models import F, Q, Value
from django.db.models.functions import Concat
from django.test.utils import isolate_apps
from encrypted_model_fields.fields import encrypt_str
from pytest_django import Settings

from apps.vault.envelope import VaultProblem
from apps.vault.fields import EncryptedField
from apps.vault.models import ProviderCredential
from tests.features.factories import NOW
from tests.vault.factories import SECRET, make_credential

pytestmark = pytest.mark.django_db


def column(row: ProviderCredential) -> str:
    with connection.cursor() as cursor:
        cursor.execute("SELECT secret FROM provider_credentials WHERE id = %s", [row.id])
        return str(cursor.fetchone()[0])


def force(row: ProviderCredential, text: str, *, past_the_check: bool = False) -> ProviderCredential:
    """Write the column as somebody with the database in hand would."""
    with connection.cursor() as cursor:
        if past_the_check:
            cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
            cursor.execute("ALTER TABLE provider_credentials DROP CONSTRAINT provider_credentials_sealed")
        cursor.execute("UPDATE provider_credentials SET secret = %s WHERE id = %s", [text, row.id])
    return ProviderCredential.objects.get(pk=row.id)


def test_secret_comes_back_as_it_was() -> None:
    row = make_credential()
    assert row.secret.reveal() == SECRET
    assert SECRET not in column(row)


def test_same_secret_twice_is_two_ciphertexts() -> None:
    assert column(make_credential()) != column(make_credential())


@pytest.mark.parametrize("text", [SECRET, "", "mfv1", "mfv1.00000000.x", "mfv1.zzzzzzzz.AA.AA", "mfv2.00000000.AA.AA"])
def test_database_refuses_what_is_not_sealed(text: str) -> None:
    row = make_credential()
    with pytest.raises(IntegrityError, match="provider_credentials_sealed"), transaction.atomic():
        force(row, text)


@pytest.mark.parametrize("text", [SECRET, "", "mfv1...", "mfv1.00000000.AA", "mfv1.00000000.AA.AA.AA"])
def test_plain_text_in_the_column_is_not_read(text: str) -> None:
    row = force(make_credential(), text, past_the_check=True)
    with pytest.raises(VaultProblem, match="does not hold a sealed secret"):
        _ = row.secret


def test_ciphertext_of_the_bare_library_is_not_read() -> None:
    row = force(make_credential(), encrypt_str(SECRET).decode(), past_the_check=True)
    with pytest.raises(VaultProblem):
        _ = row.secret


def test_ciphertext_of_another_row_is_not_read() -> None:
    victim, thief = make_credential(), make_credential(secret="sk-of-the-thief-0123456789")
    stolen = force(thief, column(victim))
    with pytest.raises(VaultProblem, match="belongs elsewhere"):
        _ = stolen.secret
    assert victim.secret.reveal() == SECRET


def test_wrapped_key_of_another_row_does_not_open_this_one() -> None:
    row, other = make_credential(), make_credential()
    parts, others = column(row).split("."), column(other).split(".")
    mixed = force(row, ".".join([*parts[:2], others[2], parts[3]]))
    with pytest.raises(VaultProblem):
        _ = mixed.secret


@pytest.mark.parametrize("part", [2, 3])
def test_altered_ciphertext_is_not_read(part: int) -> None:
    row = make_credential()
    parts = column(row).split(".")
    middle = len(parts[part]) // 2
    for text in (
        "A",
        parts[part][:-8],
        parts[part][:middle] + ("B" if parts[part][middle] == "A" else "A") + parts[part][middle + 1 :],
    ):
        altered = force(row, ".".join([*parts[:part], text, *parts[part + 1 :]]))
        with pytest.raises(VaultProblem):
            _ = altered.secret


def test_unknown_key_is_not_read(settings: Settings) -> None:
    row = make_credential()
    settings.FIELD_ENCRYPTION_KEY = [Fernet.generate_key().decode()]
    with pytest.raises(VaultProblem, match="is not among FIELD_ENCRYPTION_KEYS"):
        _ = row.secret


@pytest.mark.parametrize("keys", [[], ["short"], ["ä" * 44]])
def test_keys_that_are_none_neither_seal_nor_open(settings: Settings, keys: list[str]) -> None:
    row = make_credential()
    settings.FIELD_ENCRYPTION_KEY = keys
    with pytest.raises(VaultProblem, match="FIELD_ENCRYPTION_KEYS"):
        _ = row.secret
    with pytest.raises(VaultProblem, match="FIELD_ENCRYPTION_KEYS"):
        make_credential()


def test_keys_are_read_each_time_and_older_ones_still_open(settings: Settings) -> None:
    row, old = make_credential(), list(settings.FIELD_ENCRYPTION_KEY)
    settings.FIELD_ENCRYPTION_KEY = [Fernet.generate_key().decode(), *old]
    newer = make_credential()
    assert row.secret.reveal() == newer.secret.reveal() == SECRET
    assert column(row).split(".")[1] != column(newer).split(".")[1]


@pytest.mark.parametrize("value", [SECRET, "", None, F("label"), Concat(F("label"), Value("x"))])
def test_update_does_not_write_it(value: Any) -> None:
    row = make_credential()
    before = column(row)
    with pytest.raises(VaultProblem, match="by saving its row"), transaction.atomic():
        ProviderCredential.objects.update(secret=value)
    with pytest.raises(VaultProblem), transaction.atomic():
        ProviderCredential.objects.update(secret=row.secret)
    sealed = ProviderCredential.objects.values_list("secret", flat=True).get()
    with pytest.raises(VaultProblem), transaction.atomic():
        ProviderCredential.objects.update(secret=sealed)
    assert column(row) == before


def test_bulk_update_does_not_write_it() -> None:
    row = make_credential()
    row.secret = "sk-another-0123456789"
    with pytest.raises(VaultProblem), transaction.atomic():
        ProviderCredential.objects.bulk_update([row], ["secret"])


@pytest.mark.parametrize("value", [F("label"), Value("x"), 7, b"bytes", ["x"]])
def test_only_text_is_assigned(value: Any) -> None:
    row = make_credential()
    with pytest.raises(VaultProblem):
        row.secret = value


def test_bulk_create_seals() -> None:
    make_credential()
    fields = {"owner_class": "platform", "provider_id": "openai", "label": "x", "hint": "", "created_at": NOW}
    ProviderCredential.objects.bulk_create([ProviderCredential(id="cred_b", secret="sk-b", **fields)])
    row = ProviderCredential.objects.get(pk="cred_b")
    assert row.secret.reveal() == "sk-b"
    assert "sk-b" not in column(row)


@pytest.mark.parametrize("secret", ["", None])
def test_empty_secret_is_not_saved(secret: str | None) -> None:
    row = make_credential()
    row.secret = secret
    with pytest.raises(VaultProblem, match="is empty"):
        row.save()


def test_row_without_an_id_is_not_sealed() -> None:
    with pytest.raises(VaultProblem, match="primary key"):
        ProviderCredential(id=None, secret="x").save()


def test_row_copied_under_another_id_does_not_carry_the_secret() -> None:
    row = make_credential()
    row.pk = "cred_copy"
    with pytest.raises(VaultProblem, match="belongs elsewhere"):
        row.save(force_insert=True)


def test_saving_something_else_leaves_the_ciphertext() -> None:
    row = make_credential()
    before = column(row)
    row.label = "Other"
    row.save()
    row.save(update_fields=["label"])
    assert column(row) == before


def test_new_secret_is_sealed_anew_and_not_kept_in_plain() -> None:
    row = make_credential()
    row.secret = "sk-new-0123456789"
    row.save(update_fields=["secret"])
    assert "sk-new" not in str({name: getattr(value, "text", value) for name, value in vars(row).items()})
    assert ProviderCredential.objects.get().secret.reveal() == row.secret.reveal() == "sk-new-0123456789"


def test_deferred_secret_is_loaded_when_read() -> None:
    make_credential()
    assert ProviderCredential.objects.defer("secret").get().secret.reveal() == SECRET
    assert ProviderCredential.objects.only("label").get().secret.reveal() == SECRET


@pytest.mark.parametrize(
    "condition",
    [
        Q(secret=SECRET),
        Q(secret=F("label")),
        Q(secret__in=[SECRET]),
        Q(secret__contains="sk"),
        Q(secret__startswith="sk"),
        Q(secret__gt=""),
        Q(secret__regex="."),
        Q(secret__length=3),
    ],
)
def test_lookup_is_refused(condition: Q) -> None:
    make_credential()
    with pytest.raises((FieldError, VaultProblem)):
        list(ProviderCredential.objects.filter(condition))
    with pytest.raises((FieldError, VaultProblem)):
        list(ProviderCredential.objects.exclude(condition))


def test_value_of_the_fields_type_is_refused() -> None:
    make_credential()
    field = ProviderCredential._meta.get_field("secret")
    with pytest.raises(VaultProblem, match="cannot be compared"):
        list(ProviderCredential.objects.annotate(same=Value(SECRET, output_field=field)))


def test_values_and_annotations_hold_no_plain_text() -> None:
    make_credential()
    found = ProviderCredential.objects.annotate(
        copy=F("secret"), text=Concat("secret", Value(""), output_field=models.TextField())
    )
    assert SECRET not in str(list(found.values()) + list(found.values_list()))
    assert str(found.values_list("secret", flat=True).get()) == "[sealed]"


@pytest.mark.parametrize("form", ["json", "jsonl", "xml", "python"])
def test_dump_holds_the_ciphertext(form: str) -> None:
    row = make_credential()
    dump = str(serializers.serialize(form, [ProviderCredential.objects.get()]))
    assert SECRET not in dump
    assert column(row) in dump


def test_dump_is_not_loaded_into_the_column() -> None:
    row = make_credential()
    before = column(row)
    for dump in (
        serializers.serialize("json", [ProviderCredential.objects.get()]),
        serializers.serialize("json", [ProviderCredential.objects.get()]).replace(before, SECRET),
    ):
        (loaded,) = serializers.deserialize("json", dump)
        with pytest.raises(VaultProblem, match="fixture"), transaction.atomic():
            loaded.save()
    assert column(row) == before


def test_unsaved_secret_is_not_serialized() -> None:
    with pytest.raises(VaultProblem):
        serializers.serialize("json", [ProviderCredential(id="cred_x", secret=SECRET)])


def test_no_form_shows_it() -> None:
    form = forms.modelform_factory(ProviderCredential, fields="__all__")(instance=make_credential())
    assert "secret" not in form.fields
    assert SECRET not in form.as_p()


def test_secret_does_not_leak_by_accident(caplog: pytest.LogCaptureFixture) -> None:
    row = make_credential()
    unsaved = ProviderCredential(id="cred_x", secret=SECRET)
    for secret in (row.secret, unsaved.secret):
        logging.getLogger("test").error("%s %r %s", secret, secret, {"secret": secret})
        for text in (str(secret), repr(secret), f"{secret}", f"{secret:>80}", f"{secret!r}", "%s" % secret):  # noqa: UP031  (each way to format)
            assert SECRET not in text
        for leak in (pickle.dumps, json.dumps, copy.copy, copy.deepcopy):
            with pytest.raises(TypeError):
                leak(secret)
    assert SECRET not in caplog.text
    assert SECRET not in f"{row!r} {vars(row)} {unsaved!r} {vars(unsaved)}"


def test_pickled_row_holds_the_ciphertext() -> None:
    make_credential()
    row = ProviderCredential.objects.get()
    _ = row.secret
    pickled = pickle.dumps(row)
    assert SECRET.encode() not in pickled
    assert pickle.loads(pickled).secret.reveal() == SECRET  # noqa: S301  (our own bytes)
    with pytest.raises(TypeError):
        pickle.dumps(ProviderCredential(id="cred_x", secret=SECRET))


def test_refresh_reads_the_column_again() -> None:
    row = make_credential()
    again = ProviderCredential.objects.get()
    again.secret = "sk-changed-0123456789"
    again.save()
    row.refresh_from_db()
    assert row.secret.reveal() == "sk-changed-0123456789"


def test_full_clean_leaves_the_secret_alone() -> None:
    row = make_credential()
    row.full_clean()
    assert row.secret.reveal() == SECRET


@isolate_apps("tests.vault")
def test_field_that_could_not_hold_its_promise_fails_the_check() -> None:
    class Bad(models.Model):
        null = EncryptedField(null=True)
        unique = EncryptedField(unique=True)
        indexed = EncryptedField(db_index=True)
        preset = EncryptedField(default="x")
        good = EncryptedField()

        class Meta:
            app_label = "tests.vault"

    wrong = {field.name for field in Bad._meta.fields for found in field.check() if isinstance(found, Error)}
    assert wrong == {"null", "unique", "indexed", "preset"}


def test_field_survives_a_migration() -> None:
    name, path, args, kwargs = ProviderCredential._meta.get_field("secret").deconstruct()
    assert (name, path, list(args), kwargs) == (
        "secret",
        "apps.vault.fields.EncryptedField",
        [],
        {"verbose_name": "secret"},
    )
