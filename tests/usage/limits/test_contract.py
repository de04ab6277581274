"""What both stores promise."""

import asyncio
import time

import pytest

from apps.usage.limits.rules import FEATURE_USER, Dimension
from apps.usage.limits.verdicts import CONCURRENCY, PASSED, RPM, TPM, Standing, refusal
from apps.usage.models import LimitScope
from tests.usage.limits.stores import Stores, app, passes, refused, run

SCOPES = [*LimitScope.values, FEATURE_USER]


@pytest.mark.parametrize("scope", SCOPES)
def test_every_dimension_refuses_in_every_kind(stores: Stores, scope: str) -> None:
    async def story() -> None:
        async with stores() as store:
            for kind in (RPM, TPM, CONCURRENCY):
                limited = Dimension(scope, f"{kind}_1", **{kind: 1})
                other = Dimension(scope, f"{kind}_2", **{kind: 1})
                assert (await store.admit("req_1", (limited,))).passed
                if kind == TPM:
                    store.finish("req_1", (limited,), 1)
                verdict = await store.admit("req_2", (limited,))
                assert refused(verdict) == (scope, kind, 1)
                assert (await store.admit("req_2", (other,))).passed
                error = refusal(verdict)
                assert (error.status, error.code, error.param) == (429, "rate_limit_exceeded", None)
                assert error.details == {"scope": scope, "limit": 1, "kind": kind}
                assert error.retry_after is not None
                assert 1 <= error.retry_after <= 61

    run(story)


def test_no_dimension_limits_nothing(stores: Stores) -> None:
    async def story() -> None:
        async with stores() as store:
            assert await store.admit("req_1", ()) == PASSED
            store.finish("req_1", (), 5)

    run(story)


def test_one_call_more_than_the_limit_is_refused(stores: Stores) -> None:
    async def story() -> None:
        async with stores() as store:
            assert await passes(store, app(rpm=10), 100) == 10

    run(story)


def test_no_stretch_of_a_windows_length_holds_more_than_the_limit(stores: Stores) -> None:
    window, limit = 0.6, 20

    async def story() -> None:
        async with stores(window=window) as store:
            sent, answered = [], []
            end = time.monotonic() + 2.5 * window
            while (before := time.monotonic()) < end:
                if (await store.admit("req_1", (app(rpm=limit),))).passed:
                    sent.append(before)
                    answered.append(time.monotonic())
                await asyncio.sleep(0.002)
            assert len(sent) > 2 * limit - 1
            for early, late in zip(sent, answered[limit:], strict=False):
                assert late - early >= window

    run(story)


def test_a_refused_call_passes_after_the_time_it_was_told(stores: Stores) -> None:
    async def story() -> None:
        async with stores(window=1.5) as store:
            assert (await store.admit("req_0", (app(rpm=2),))).passed
            await asyncio.sleep(0.5)
            assert (await store.admit("req_1", (app(rpm=2),))).passed
            verdict = await store.admit("req_2", (app(rpm=2),))
            assert verdict.refused is not None
            # The first call makes room, not the second.
            assert verdict.refused.retry_after < 1.2
            await asyncio.sleep(verdict.refused.retry_after + 0.005)
            assert (await store.admit("req_2", (app(rpm=2),))).passed

    run(story)


def test_a_refused_call_consumes_nothing(stores: Stores) -> None:
    async def story() -> None:
        async with stores() as store:
            full = Dimension("end_user", "usr_1", rpm=1)
            both = app(rpm=3, concurrency=3)
            assert (await store.admit("req_0", (both, full))).passed
            for number in range(5):
                assert refused(await store.admit(f"req_{number}", (both, full))) == ("end_user", RPM, 1)
            verdict = await store.admit("req_6", (both,))
            assert verdict.requests is not None
            assert verdict.requests.remaining == 1
            assert await passes(store, both, 5, first=10) == 1

    run(story)


def test_tokens_refuse_the_call_after_the_one_that_passed_the_limit(stores: Stores) -> None:
    async def story() -> None:
        async with stores(window=1.2) as store:
            limited = (app(tpm=100),)
            assert (await store.admit("req_1", limited)).tokens == Standing(100, 100, 0.0)
            store.finish("req_1", limited, 99)
            verdict = await store.admit("req_2", limited)
            assert verdict.passed
            assert verdict.tokens is not None
            assert verdict.tokens.remaining == 1
            assert 1.0 < verdict.tokens.reset <= 1.25
            store.finish("req_2", limited, 400)
            verdict = await store.admit("req_3", limited)
            assert refused(verdict) == ("app", TPM, 100)
            assert verdict.tokens is not None
            assert verdict.tokens.remaining == 0
            assert verdict.refused is not None
            await asyncio.sleep(verdict.refused.retry_after + 0.005)
            assert (await store.admit("req_3", limited)).passed

    run(story)


def test_tokens_of_long_ago_are_forgotten_one_by_one(stores: Stores) -> None:
    async def story() -> None:
        async with stores(window=1.2) as store:
            limited = (app(tpm=10),)
            store.finish("req_1", limited, 6)
            await asyncio.sleep(0.6)
            store.finish("req_2", limited, 6)
            assert not (await store.admit("req_3", limited)).passed
            await asyncio.sleep(0.7)
            verdict = await store.admit("req_3", limited)
            assert verdict.tokens is not None
            assert verdict.tokens.remaining == 4

    run(story)


def test_places_are_given_back(stores: Stores) -> None:
    async def story() -> None:
        async with stores() as store:
            limited = app(concurrency=3)
            assert await passes(store, limited, 10) == 3
            store.finish("req_1", (limited,), 0)
            assert await passes(store, limited, 10, first=10) == 1
            # What was refused has no place to give back.
            store.finish("req_8", (limited,), 0)
            assert await passes(store, limited, 10, first=20) == 0

    run(story)


def test_the_place_of_a_dead_process_comes_back_and_a_live_ones_does_not(stores: Stores) -> None:
    async def story() -> None:
        async with stores(lease=0.8) as store:
            limited = app(concurrency=2)
            assert await passes(store, limited, 2) == 2
            for _ in range(5):
                await asyncio.sleep(0.25)
                store.renew(["req_0", "req_never_admitted"])
            assert await passes(store, limited, 10, first=10) == 1
            store.finish("req_0", (limited,), 0)
            store.renew(["req_0"])
            assert await passes(store, limited, 10, first=20) == 1

    run(story)


def test_a_request_may_be_admitted_to_further_dimensions(stores: Stores) -> None:
    async def story() -> None:
        async with stores() as store:
            limited, first = app(concurrency=1), Dimension("credential", "c1", concurrency=1)
            second = Dimension("credential", "c2", concurrency=1)
            assert (await store.admit("req_0", (first,))).passed
            assert (await store.admit("req_1", (limited,))).passed
            assert not (await store.admit("req_1", (first,))).passed
            assert (await store.admit("req_1", (second,))).passed
            store.finish("req_1", (second,), 0)
            assert (await store.admit("req_2", (second,))).passed
            assert not (await store.admit("req_2", (limited,))).passed
            store.finish("req_1", (limited,), 0)
            assert (await store.admit("req_2", (limited,))).passed

    run(story)


def test_the_limit_that_lasts_longest_is_named(stores: Stores) -> None:
    async def story() -> None:
        async with stores() as store:
            crowded, spent = app(concurrency=1), Dimension("end_user", "usr_1", rpm=1)
            assert (await store.admit("req_1", (crowded, spent))).passed
            verdict = await store.admit("req_2", (crowded, spent))
            assert refused(verdict) == ("end_user", RPM, 1)
            assert verdict.refused is not None
            assert verdict.refused.retry_after > 50

    run(story)


def test_headers_are_of_the_tightest_dimension(stores: Stores) -> None:
    async def story() -> None:
        async with stores() as store:
            roomy = Dimension("platform", "", rpm=1000, tpm=50)
            tight = app(rpm=5, tpm=100)
            alike = Dimension("developer", "dev_1", rpm=6)
            store.finish("req_0", (tight,), 70)
            assert (await store.admit("req_0", (alike,))).passed
            verdict = await store.admit("req_1", (roomy, alike, tight))
            assert verdict.requests is not None
            assert verdict.requests[:2] == (5, 4)
            assert 59 < verdict.requests.reset <= 61
            assert verdict.tokens is not None
            assert verdict.tokens[:2] == (100, 30)
            only = await store.admit("req_2", (Dimension("key", "key_1", rpm=2),))
            assert only.tokens is None

    run(story)


def test_a_changed_limit_counts_what_was_counted_before_it(stores: Stores) -> None:
    async def story() -> None:
        async with stores() as store:
            assert await passes(store, app(rpm=10), 6) == 6
            assert await passes(store, app(rpm=4), 1) == 0
            assert await passes(store, app(rpm=7), 3) == 1

    run(story)


def test_many_calls_at_once_are_counted_exactly(stores: Stores) -> None:
    async def story() -> None:
        async with stores() as store:
            dimensions = [Dimension(scope, "x", rpm=200, tpm=10**9, concurrency=40) for scope in SCOPES]
            verdicts = await asyncio.gather(*(store.admit(f"req_{number}", dimensions) for number in range(300)))
            passed = [number for number, verdict in enumerate(verdicts) if verdict.passed]
            assert len(passed) == 40
            for number in passed:
                store.finish(f"req_{number}", dimensions, 1000)
            verdict = await store.admit("req_last", dimensions)
            assert verdict.requests is not None
            assert verdict.requests[:2] == (200, 159)
            assert verdict.tokens is not None
            assert verdict.tokens[:2] == (10**9, 10**9 - 40_000)

    run(story)


def test_a_cancelled_call_gives_back_its_place(stores: Stores) -> None:
    async def story() -> None:
        async with stores() as store:
            limited = app(concurrency=1)
            task = asyncio.ensure_future(store.admit("req_1", (limited,)))
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            if not task.cancelled():  # it had its answer before
                store.finish("req_1", (limited,), 0)
            assert (await store.admit("req_2", (limited,))).passed

    run(story)
