"""When a cached value is used, renewed and insisted on; how long to wait before another attempt."""

import math
import threading
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soa_db._aws.cache import Cache
from soa_db._core.backoff import full_jitter
from soa_db._core.refresh import Allowance, Held, Need, Policy, hold, need, take
from soa_db._runtime.clock import Clock
from soa_db.errors import SecretNotFound

times = st.floats(min_value=0, max_value=1e9)
lives = st.floats(min_value=-1e4, max_value=1e6)
chances = st.floats(min_value=0, max_value=1, exclude_max=True)
policies = st.builds(
    Policy,
    lifetime=st.floats(min_value=1, max_value=1e5),
    ahead=st.floats(min_value=0, max_value=1e4),
    margin=st.floats(min_value=0, max_value=1e3),
    jitter=st.floats(min_value=0, max_value=1),
    retry=st.floats(min_value=0, max_value=100),
    burst=st.integers(min_value=1, max_value=10),
    per=st.floats(min_value=0.1, max_value=100),
)


@given(now=times, life=lives, chance=chances, policy=policies)
def test_a_value_is_renewed_before_it_ends_and_never_used_in_its_margin(
    now: float, life: float, chance: float, policy: Policy
) -> None:
    """For any life, also one that is over: fetched ≤ renewal, and no use after end − margin."""
    held = hold("x", now=now, policy=policy, rng=lambda: chance, ends_at=now + life)
    assert held.refresh_at >= now
    assert held.expires_at == pytest.approx(now + life - policy.margin, abs=1e-3)
    if held.expires_at > now:
        assert held.refresh_at <= held.expires_at
    assert need(held, now=held.expires_at, tried_at=-math.inf, policy=policy) is Need.NOW


@given(now=times, chance=chances, policy=policies)
def test_a_value_without_an_end_is_renewed_within_its_lifetime_and_stays_usable(
    now: float, chance: float, policy: Policy
) -> None:
    """A secret is valid until it is refused: renewal is never waited for."""
    held = hold("x", now=now, policy=policy, rng=lambda: chance)
    assert now <= held.refresh_at <= now + policy.lifetime
    late = now + 1e7
    assert need(held, now=late, tried_at=-math.inf, policy=policy) is Need.AHEAD
    assert need(held, now=late, tried_at=late, policy=Policy(retry=1)) is Need.NOTHING


def test_renewal_waits_for_the_last_third_or_so_of_a_short_life() -> None:
    """`ahead` longer than the life itself would renew at every use."""
    policy = Policy(ahead=300, margin=0, jitter=0)
    assert hold("x", now=0, policy=policy, rng=lambda: 0.5, ends_at=100).refresh_at == 50
    assert hold("x", now=0, policy=policy, rng=lambda: 0.5, ends_at=1000).refresh_at == 700


@given(policy=policies, gaps=st.lists(st.floats(min_value=0, max_value=50), max_size=60))
def test_insisting_is_allowed_in_a_burst_and_then_at_a_rate(policy: Policy, gaps: list[float]) -> None:
    """No more than burst + elapsed / per, whatever the pattern of attempts."""
    allowance: Allowance | None = None
    now, allowed = 0.0, 0
    for gap in gaps:
        now += gap
        left = take(allowance, now=now, policy=policy)
        if left is not None:
            allowance, allowed = left, allowed + 1
    assert allowed <= policy.burst + sum(gaps) / policy.per + 1e-6


@given(attempt=st.integers(min_value=1, max_value=10_000), chance=chances)
def test_a_wait_is_within_the_exponential_bound(attempt: int, chance: float) -> None:
    """Full jitter, also after so many attempts that the exponential would overflow."""
    wait = full_jitter(attempt, base=0.5, cap=20, rng=lambda: chance)
    assert 0 <= wait <= min(20, 0.5 * 2.0 ** min(attempt - 1, 100))


class Source:
    """A thing to fetch, a clock, and a cache of the thing."""

    def __init__(self, *, life: float = math.inf, policy: Policy | None = None) -> None:
        self.now = 1000.0
        self.life = life
        self.fetched = 0
        self.failure: Exception | None = None
        clock = Clock(monotonic=lambda: self.now, wall=lambda: self.now)
        self.cache = Cache(
            "the thing",
            self.fetch,
            kind="secret",
            source="the thing",
            policy=policy or Policy(jitter=0),
            clock=clock,
            rng=lambda: 0.0,
        )

    def fetch(self) -> tuple[int, float]:
        self.fetched += 1
        if self.failure is not None:
            raise self.failure
        return self.fetched, self.now + self.life


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """The package's warnings."""
    with caplog.at_level("WARNING", logger="soa_db.aws"):
        yield caplog


def look(source: Source) -> tuple[Need, int | None]:
    """What to do, and the value held."""
    wanted, held = source.cache.look()
    return wanted, held.value if isinstance(held, Held) else None


def test_a_failed_renewal_leaves_the_valid_value_and_is_tried_again_later(log: pytest.LogCaptureFixture) -> None:
    """The log tells, and the next attempt waits for `retry`."""
    source = Source(life=1000)
    source.cache.fill()
    source.now += 700
    assert look(source) == (Need.AHEAD, 1)
    source.failure = SecretNotFound("gone")
    source.cache.fill_ahead()
    assert look(source) == (Need.NOTHING, 1)
    assert "the thing could not be renewed ahead of its end, what is held stays in use: gone" in log.text
    source.now += 11
    assert look(source) == (Need.AHEAD, 1)
    source.failure = None
    source.cache.fill_ahead()
    assert look(source) == (Need.NOTHING, 3)


def test_who_comes_after_the_fetch_does_not_fetch_again() -> None:
    """Between looking and asking, another may have filled the cache."""
    source = Source()
    assert source.cache.fill_unless_held() == 1
    assert source.cache.fill_unless_held() == 1
    source.now += 1e6
    assert source.cache.fill_unless_held() == 1


def test_forcing_too_often_gives_what_the_last_time_gave() -> None:
    """Four at once, then one every five seconds; an error is given again too."""
    source = Source()
    assert [source.cache.force() for _ in range(6)] == [1, 2, 3, 4, 4, 4]
    source.now += 5
    source.failure = SecretNotFound("gone")
    with pytest.raises(SecretNotFound):
        source.cache.force()
    with pytest.raises(SecretNotFound):
        source.cache.force()
    assert source.fetched == 5
    assert look(source)[1] == 4


@pytest.mark.parametrize("fails", [False, True])
def test_what_an_older_fetch_brings_does_not_replace_what_was_forced_after_it_began(fails: bool) -> None:
    """A slow read ends after the forced one: it may bring the very password that was refused."""
    source = Source()

    def slow() -> tuple[int, float]:
        source.cache._fetch = source.fetch
        source.now += 1
        assert [source.cache.force() for _ in range(4)] == [1, 2, 3, 4]
        if fails:
            raise SecretNotFound("gone")
        return 0, math.inf

    source.cache._fetch = slow
    if fails:
        with pytest.raises(SecretNotFound):
            source.cache.fill()
    else:
        assert source.cache.fill() == 4
    assert look(source)[1] == 4
    assert source.cache.force() == 4  # too often: what the last time gave, which is not the old one's failure


def test_forcing_from_several_threads_respects_the_limit() -> None:
    """The allowance is taken under a lock."""
    source = Source()
    threads = [threading.Thread(target=source.cache.force) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert source.fetched <= 5  # four, and one that found nothing held yet
