import re

from apps.core.ids import new_id, new_token


def test_new_id_is_unique_and_sorts_by_time() -> None:
    ids = [new_id("req") for _ in range(1_000)]
    assert len(set(ids)) == 1_000
    assert ids == sorted(ids)
    assert all(re.fullmatch(r"req_[0-9a-f]{32}", each) for each in ids)


def test_new_id_fits_its_columns() -> None:
    prefixes = ("dev", "mem", "dtok", "aud", "app", "feat", "usr", "sess", "key", "cred", "sec", "req", "pv", "prop")
    assert all(len(new_id(prefix)) <= 40 for prefix in prefixes)


def test_new_token_has_256_random_bits() -> None:
    tokens = {new_token("mf_sess") for _ in range(100)}
    assert len(tokens) == 100
    assert all(re.fullmatch(r"mf_sess_[A-Za-z0-9_-]{43}", each) for each in tokens)
