import time
from types import SimpleNamespace

from apps.features.principals import Principal, Terms
from apps.usage.limits.rules import FEATURE_USER, NO_RULES, Dimension, LimitRules, feature_limits, scopes_of

EXTRA = (Dimension(FEATURE_USER, "app_1/default/usr_1", rpm=1),)
SCOPES = {"platform": "", "app": "app_1", "end_user": "usr_1", "ip": "203.0.113.5"}


def principal(kind: str = "session", end_user_id: str | None = "usr_1") -> Principal:
    return Principal(
        kind=kind,
        id="sess_1" if kind == "session" else "key_1",
        assurance="user_token",
        app_id="app_1",
        public_app_id="app_pub_1",
        developer_id="dev_1",
        feature_key="summarise",
        end_user_id=end_user_id,
        expires_at=None,
        terms=Terms(1, "markup", 0, 0, "fee_only", 0, 0, 0, 0, 0),
        models=frozenset(),
        default_model="",
        max_output_tokens=100,
        affordable_clamp=True,
        allowed_origins=(),
    )


def test_a_rule_that_names_the_id_beats_the_default_as_a_whole() -> None:
    rules = LimitRules([Dimension("app", "", rpm=10, tpm=5), Dimension("app", "app_1", concurrency=2)])
    assert rules.for_call({"app": "app_1"}) == (Dimension("app", "app_1", concurrency=2),)
    assert rules.for_call({"app": "app_2"}) == (Dimension("app", "app_2", rpm=10, tpm=5),)


def test_only_the_scopes_of_a_call_limit_it() -> None:
    rules = LimitRules([Dimension("platform", "", rpm=9), Dimension("key", "", rpm=1), Dimension("ip", "::1", rpm=2)])
    assert rules.for_call(SCOPES) == (Dimension("platform", "", rpm=9),)
    assert rules.for_call({"credential": "cred_1"}) == ()
    assert rules.covers("key")
    assert not rules.covers("app")


def test_a_manifests_limits_come_on_top() -> None:
    assert NO_RULES.for_call(SCOPES, EXTRA) == EXTRA
    assert LimitRules([Dimension("app", "", rpm=3)]).for_call(SCOPES, EXTRA) == (
        Dimension("app", "app_1", rpm=3),
        *EXTRA,
    )


def test_nothing_to_look_for_costs_nothing() -> None:
    began = time.perf_counter()
    for _ in range(10_000):
        NO_RULES.for_call(SCOPES, EXTRA)
    assert (time.perf_counter() - began) / 10_000 < 10e-6  # 0.2 µs where nothing else runs
    assert not NO_RULES


def test_scopes_of_a_session_and_of_a_key() -> None:
    common = {"platform": "", "developer": "dev_1", "app": "app_1", "feature": "app_1/summarise"}
    assert scopes_of(principal()) == common | {"end_user": "usr_1", "session": "sess_1"}
    caller = principal("virtual_key", None)
    assert scopes_of(caller, network="203.0.113.5") == common | {"key": "key_1", "ip": "203.0.113.5"}


def test_a_manifest_limits_each_user_of_its_feature() -> None:
    limits = SimpleNamespace(rpm=5, tpm=None, concurrency=1)
    (dimension,) = feature_limits(principal(), limits)
    assert dimension == Dimension(FEATURE_USER, "app_1/summarise/usr_1", 5, None, 1)
    (dimension,) = feature_limits(principal("virtual_key", None), limits)
    assert dimension.id == "app_1/summarise/key_1"
    assert feature_limits(principal(), SimpleNamespace(rpm=None, tpm=None, concurrency=None)) == ()
