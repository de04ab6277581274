"""Pages of features: the editor of manifests as form and YAML, versions, and what a plan does not include."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.billing.models.plans import GateAttempt
from apps.billing.services.plans import seed_plans
from apps.console.developer.manifest_form import MEMBERS, members_changed, values_of
from apps.core.clock import now
from apps.features.entitlements import Entitlements
from apps.features.library import templates
from apps.features.manifest_edit import change, content_of, value_at
from apps.features.models import AppFeature, FeatureManifest
from apps.features.services.entitlements import set_entitlements
from tests.console.seats import House, make_house
from tests.live import MODEL

pytestmark = pytest.mark.django_db
BASE = "version: 1\ndescription: Diary\nlimits:\n  rpm: 5\n"


@pytest.fixture(autouse=True)
def test_host(settings: Any) -> None:
    settings.ALLOWED_HOSTS = ["testserver"]


@pytest.fixture
def house(db: None) -> House:
    return make_house()


def editor(house: House) -> str:
    return house.app_url("features/default/")


def form_of(source: str) -> dict[str, Any]:
    """Return the fields as a browser sends them that was shown a source."""
    sent = {}
    for name, value in values_of(source).items():
        if isinstance(value, bool):
            if value:
                sent[name] = "on"
        else:
            sent[name] = "\r\n".join(value) if isinstance(value, list) else "" if value is None else str(value)
    return sent


def post(house: House, action: str, source: str, seen: str = "", **changed: Any) -> Any:
    seen = seen or source
    return house.owner.post(
        editor(house), {**form_of(seen), **changed, "source": source, "seen": seen, "action": action}
    )


def in_force() -> FeatureManifest | None:
    return AppFeature.objects.get(key="default").manifest


def test_feature_is_made_from_a_template(house: House) -> None:
    url = house.app_url("features/new")
    answered = house.owner.post(url, {"key": "short", "name": "", "template": "summary.en", "model": MODEL})
    assert answered["location"] == house.app_url("features/short/")
    made = AppFeature.objects.get(key="short")
    assert made.manifest is not None
    assert (made.name, made.manifest.source) == ("Summary", templates()["summary.en"].source)
    again = house.owner.post(url, {"key": "short", "name": "", "template": "", "model": MODEL})
    assert again.context["form"].errors.keys() == {"key"}
    wrong = house.owner.post(url, {"key": "Not a key", "name": "", "template": "", "model": MODEL})
    assert wrong.context["form"].errors.keys() == {"key"}


def test_yaml_is_saved_as_it_was_written(house: House) -> None:
    source = "# Mine.\nversion: 1\ndescription: Diary  # of Ada\n"
    assert post(house, "save", source)["location"] == editor(house)
    manifest = in_force()
    assert manifest is not None
    assert (manifest.number, manifest.source, manifest.manifest) == (1, source, {"description": "Diary"})
    assert "Diary  # of Ada" in house.owner.get(editor(house)).content.decode()


def test_form_is_written_into_the_yaml_and_shown_before_it_is_saved(house: House) -> None:
    page = post(house, "apply", BASE, policy="privacy_first", cache_exact="on", rpm="", fallback_models="a\nb")
    assert page.status_code == 200 and in_force() is None
    assert content_of(page.context["source"]) == {
        "version": 1,
        "description": "Diary",
        "routing": {"policy": "privacy_first", "fallback_models": ["a", "b"]},
        "cache": {"exact": True},
    }
    assert "It is not saved yet" in page.content.decode()


def test_both_may_be_edited_at_once(house: House) -> None:
    post(house, "save", BASE.replace("Diary", "Journal"), seen=BASE, max_tokens="70")
    manifest = in_force()
    assert manifest is not None
    assert manifest.manifest == {"description": "Journal", "limits": {"rpm": 5}, "output": {"max_tokens": 70}}
    assert AppFeature.objects.get(key="default").max_output_tokens == 70


def test_form_follows_the_yaml(house: House) -> None:
    page = post(house, "apply", BASE.replace("rpm: 5", "tpm: 900"), seen=BASE)
    assert page.context["form"]["tpm"].value() == 900 and page.context["form"]["rpm"].value() is None


@pytest.mark.parametrize(
    ("source", "line", "says"),
    [
        ("version: 1\nrouting:\n  policy: cheapest\n", 3, "routing.policy"),
        ("version: 1\nrouting:\n  polcy: quality_first\n", 3, "polcy"),
        ("version: 1\nlimits: {rpm: 0}\n", 2, "limits.rpm"),
        ("version: 1\n  description: x\n", 2, "not valid YAML"),
        ("version: 1\nrouting:\n  rules:\n    - use: [a]\n    - {}\n", 5, "a rule names models"),
        ("version: 1\nprompt:\n  user: '{{ input.x'\n", 3, "prompt.user"),
        ("- 1\n", None, "is an object"),
        ("version: 1\na: &a 1\nb: *a\n", 3, "aliases"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(house: House, source: str, line: int | None, says: str) -> None:
    for action in ("save", "apply"):
        page = post(house, action, source, seen=BASE)
        html = page.content.decode()
        assert page.status_code == 200 and says in page.context["refusal"]
        assert page.context["line"] == line
        assert (f"<strong>Line {line}</strong>" in html) == (line is not None)
        assert page.context["source"] == source  # what was written is not lost
    assert in_force() is None


def test_wrong_field_is_told_beside_it_and_nothing_is_lost(house: House) -> None:
    page = post(house, "save", BASE, rpm="many", description="New words")
    assert page.context["form"].errors.keys() == {"rpm"} and in_force() is None
    assert page.context["form"]["description"].value() == "New words"
    assert page.context["seen"] == BASE


def test_what_the_yaml_had_wrong_is_mended_there_alone(house: House) -> None:
    wrong = BASE.replace("rpm: 5", "rpm: 0")
    shown = post(house, "apply", wrong, seen=BASE)
    assert shown.context["form"]["rpm"].value() == 0 and shown.context["line"] == 4
    assert post(house, "save", BASE, seen=wrong)["location"] == editor(house)


def test_manifest_beyond_its_size_is_refused(house: House) -> None:
    page = post(house, "save", "description: x\n" + "#" * 70_000, seen=BASE)
    assert "at most 64000 bytes" in page.context["refusal"]


def test_pricing_stays_the_operators(house: House) -> None:
    page = post(house, "save", "version: 1\npricing: {share_bps: 10000}\n", seen=BASE)
    assert "Pricing terms are the operator" in page.content.decode() and in_force() is None


def test_what_a_plan_does_not_include_is_offered_with_the_plan_that_does(house: House) -> None:
    seed_plans(now=now())
    set_entitlements(house.developer_id, Entitlements("free", "pro", None, None, None, ()), now=now())
    page = post(house, "save", BASE, policy="quality_first")
    html = page.content.decode()
    assert "Your plan does not include this:" in html and "The plan “Pro” does." in html
    assert in_force() is None
    assert GateAttempt.objects.get().gate == "advanced_routing"
    assert "Not in your plan:" in house.owner.get(editor(house)).content.decode()


def test_versions_show_what_changed_and_are_put_back(house: House) -> None:
    post(house, "save", BASE)
    post(house, "save", BASE.replace("rpm: 5", "rpm: 9"), seen=BASE)
    house.owner.get(editor(house))  # shows the messages of both
    listed = house.owner.get(editor(house) + "versions").content.decode()
    assert listed.index("Version 2") < listed.index("Version 1") and listed.count("in force") == 1
    page = house.owner.get(editor(house) + "versions/2")
    assert page.context["changed"] == [{"path": "limits.rpm", "before": 5, "after": 9}]
    assert "Put this version in force" not in page.content.decode()
    page = house.owner.get(editor(house) + "versions/1")
    assert page.context["against"] == [{"path": "limits.rpm", "before": 9, "after": 5}]
    assert house.owner.post(editor(house) + "versions/1")["location"] == editor(house)
    manifest = in_force()
    assert manifest is not None and manifest.number == 1
    assert house.owner.get(editor(house) + "versions/3").status_code == 404
    assert house.member("analyst").post(editor(house) + "versions/2").status_code == 403


def test_versions_come_in_pages_of_few_queries(house: House, django_assert_max_num_queries: Any) -> None:
    url = editor(house) + "versions"
    counts = []
    for number in range(1, 25):
        post(house, "save", f"version: 1\ndescription: '{number}'\n", seen="version: 1\n")
        if number in (1, 3):
            with django_assert_max_num_queries(12) as queries:
                house.owner.get(url)
            counts.append(len(queries))
    assert counts[0] == counts[1]
    first = house.owner.get(url).content.decode()
    assert "Version 24" in first and "Version 4<" not in first and "?before=5" in first
    assert "Version 4<" in house.owner.get(url + "?before=5").content.decode()
    assert house.owner.get(url + "?before=²").status_code == 200


def test_editor_and_version_take_twelve_queries(house: House, django_assert_max_num_queries: Any) -> None:
    post(house, "save", BASE)
    for path in ("", "versions/1"):
        with django_assert_max_num_queries(12):
            assert house.owner.get(editor(house) + path).status_code == 200


def test_manifest_written_as_json_is_edited_as_yaml(house: House) -> None:
    house.desk.world.manifest(description="Diary", limits={"rpm": 5})
    page = house.owner.get(editor(house))
    assert content_of(page.context["source"]) == {"description": "Diary", "limits": {"rpm": 5}}


def test_who_may_only_read_sees_the_yaml_alone(house: House) -> None:
    post(house, "save", BASE)
    html = house.member("analyst").get(editor(house)).content.decode()
    assert "description: Diary" in html and "<textarea" not in html and "Switch off" not in html


def test_settings_change_what_the_manifest_leaves_open(house: House) -> None:
    post(house, "save", "version: 1\noutput: {max_tokens: 70}\n", seen="version: 1\n")
    url = editor(house) + "settings"
    given = {"name": "Ask", "default_model": MODEL, "max_output_tokens": "70", "affordable_clamp": ""}
    assert house.owner.post(url, given)["location"] == editor(house)
    feature = AppFeature.objects.get(key="default")
    assert (feature.name, feature.affordable_clamp) == ("Ask", False)
    page = house.owner.post(url, {**given, "max_output_tokens": "80"})
    assert page.context["form"].errors.keys() == {"max_output_tokens"}


def test_feature_is_switched_off_and_on_after_a_question(house: House) -> None:
    url = editor(house) + "switch"
    assert "off?" in house.owner.get(url).content.decode()
    for to, status in (("off", "disabled"), ("off", "disabled"), ("on", "active")):
        assert house.owner.post(url, {"to": to})["location"] == house.app_url()
        assert AppFeature.objects.get(key="default").status == status


@pytest.mark.parametrize("name", templates())
def test_template_is_not_touched_by_a_form_that_nobody_changed(house: House, name: str) -> None:
    source = templates()[name].source
    assert post(house, "apply", source).context["source"] == source
    edited = post(house, "apply", source, rpm="7").context["source"]
    assert content_of(edited) == {**content_of(source), "limits": {"rpm": 7}}
    assert edited.startswith(source.partition("\n")[0])  # the comment above


@given(
    given=st.fixed_dictionaries(
        {
            "description": st.text(st.characters(exclude_categories=("C",)), max_size=30).map(str.strip),
            "system": st.sampled_from(["", "Be brief.", "Two\nlines: {{ input.x }}\n# no comment"]),
            "policy": st.sampled_from(["platform_pool", "quality_first"]),
            "fallback_models": st.lists(st.sampled_from(["a", "yes", "1.0", "x:y"]), max_size=3),
            "max_tokens": st.none() | st.integers(1, 10**7),
            "min_quality": st.none() | st.floats(0, 1),
            "cache_exact": st.booleans(),
            "max_price": st.sampled_from(["", "0.5", "1"]),
        }
    )
)
def test_form_says_what_the_yaml_says_whatever_it_is(given: dict[str, Any]) -> None:
    before = values_of(BASE)
    source = change(BASE, members_changed({**before, **given}, before))
    assert values_of(source) == {**before, **given}
    assert value_at(content_of(source), "limits.rpm") == 5
    assert members_changed(values_of(source), values_of(source)) == {}
    assert set(given) <= MEMBERS.keys()
