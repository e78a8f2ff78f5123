"""The order of steps of a password change, over every state of the secrets and every point a run can be killed at."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from soa_db.access.aws.stages import (
    Create,
    Done,
    DropPending,
    Facts,
    Failed,
    Goal,
    MakePassword,
    Promote,
    Prove,
    PutCurrent,
    PutPending,
    Restore,
    SecretState,
    SetOnServer,
    Step,
    Target,
    Version,
    decide,
    fits,
    new_payload,
)

FIELDS = {"username": "u", "host": "h", "port": 5432, "database": "d"}
_ids = itertools.count()


@dataclass
class Secret:
    """Secrets Manager's rules for one secret, as its API reference gives them."""

    exists: bool = True
    deleted: bool = False
    versions: dict[str, dict[str, object] | None] = field(default_factory=dict)
    current: str | None = None
    pending: str | None = None

    def put(self, payload: dict[str, object] | None, *, pending: bool) -> str:
        first = not self.versions
        version = f"v{next(_ids)}"
        self.versions[version] = payload
        if pending:
            self.pending = version
        if first or not pending:
            self.current = version
        return version

    def state(self, name: str) -> SecretState:
        if not self.exists or self.deleted:
            return SecretState(name, exists=self.exists, deleted=self.deleted, fields=FIELDS)
        return SecretState(
            name, current=self._version(self.current), pending=self._version(self.pending), fields=FIELDS
        )

    def _version(self, version: str | None) -> Version | None:
        return None if version is None else Version(version, self.versions[version])


@dataclass
class World:
    """The secrets and the server's one live password."""

    secrets: dict[str, Secret]
    live: str | None

    def facts(self, goal: Goal, fixed: str | None = None) -> Facts:
        return Facts(goal, tuple(secret.state(name) for name, secret in self.secrets.items()), target=fixed)

    def holding(self) -> set[str]:
        """The secrets in which a client that reads both stages finds the live password."""
        return {
            name
            for name, secret in self.secrets.items()
            if self.live is not None and secret.state(name).holds(self.live)
        }

    def take(self, facts: Facts, step: Step) -> Facts:
        """Take one step and look again, as the shell does."""
        match step:
            case Target(password):
                return replace(facts, target=password)
            case MakePassword():
                password = f"new{next(_ids)}"
                return replace(facts, target=password, opens={**facts.opens, password: False})
            case Prove(password):
                return replace(facts, opens={**facts.opens, password: password == self.live})
            case SetOnServer():
                self.live = facts.target
                return replace(facts, opens={}, was_set=True)
            case Restore(secret):
                self.secrets[secret.name].deleted = False
            case Create(secret):
                assert facts.target is not None
                self.secrets[secret.name].exists = True
                self.secrets[secret.name].put(new_payload(secret, facts.target), pending=False)
            case PutPending(secret) | PutCurrent(secret):
                assert facts.target is not None
                pending = isinstance(step, PutPending)
                self.secrets[secret.name].put(new_payload(secret, facts.target), pending=pending)
            case Promote(secret, version):
                assert self.secrets[secret.name].pending == version.id
                self.secrets[secret.name].current = version.id
            case DropPending(secret, version):
                assert self.secrets[secret.name].pending == version.id
                self.secrets[secret.name].pending = None
            case Done() | Failed():
                raise AssertionError("there is nothing to take")
        return replace(facts, secrets=tuple(self.secrets[old.name].state(old.name) for old in facts.secrets))


PASSWORDS = st.sampled_from(["a", "b"])
PAYLOADS: st.SearchStrategy[dict[str, object] | None] = st.one_of(
    st.none(),
    PASSWORDS.map(lambda password: {**FIELDS, "password": password}),
    PASSWORDS.map(lambda password: {"password": password, "host": "elsewhere", "note": "kept"}),
)
GOALS: st.SearchStrategy[Goal] = st.sampled_from(["keep", "rotate"])
MOST_STEPS = 60


def run(world: World, goal: Goal, fixed: str | None, steps: int) -> bool:
    """Take so many steps; say whether the run ended by itself. No step may lose the live password."""
    facts = world.facts(goal, fixed)
    for _ in range(steps):
        step = decide(facts)
        if isinstance(step, Done):
            return True
        assert not isinstance(step, Failed)
        held = world.holding()
        facts = world.take(facts, step)
        lost = held - world.holding()
        assert not lost, f"after {type(step).__name__} {lost} no longer hold the live password"
        if isinstance(step, SetOnServer):
            assert world.holding() == set(world.secrets), "all were written before the server was changed"
    return False


def run_to_the_end(world: World, goal: Goal, fixed: str | None) -> None:
    """Then every secret's AWSCURRENT opens the server, and the next run has nothing to do."""
    interrupted = any(secret.pending or secret.deleted for secret in world.secrets.values())
    before = world.live
    assert run(world, goal, fixed, MOST_STEPS), "it ended"
    for name, secret in world.secrets.items():
        state = secret.state(name)
        assert state.current is not None
        assert state.current.password == world.live
        assert fits(state.current.payload, FIELDS)
        assert goal == "keep" or state.pending is None
    if fixed:
        assert world.live == fixed
    elif goal == "rotate" and not interrupted:
        assert world.live != before, "the password is a new one"
    settled = copy.deepcopy(world)
    assert run(world, "keep", fixed, MOST_STEPS)
    assert world == settled, "no write"


class KilledRuns(RuleBasedStateMachine):
    """Runs killed anywhere, people who meddle, databases that are restored."""

    world: World

    @initialize(count=st.integers(1, 3), live=st.none() | PASSWORDS, data=st.data())
    def begin(self, count: int, live: str | None, data: st.DataObject) -> None:
        """Any state of any secret."""
        self.world = World({f"s{index}": Secret(exists=False) for index in range(count)}, live)
        for name in self.world.secrets:
            self.meddle(name, data)

    def meddle(self, name: str, data: st.DataObject) -> None:
        kind = data.draw(st.sampled_from(["missing", "empty", "current", "pending", "pending", "both", "deleted"]))
        secret = self.world.secrets[name] = Secret(exists=kind != "missing")
        if kind in {"current", "pending", "deleted"}:
            secret.put(data.draw(PAYLOADS), pending=False)
        if kind == "pending":
            secret.put(data.draw(PAYLOADS), pending=True)
        if kind == "both":
            secret.put(data.draw(PAYLOADS), pending=True)
        secret.deleted = kind == "deleted"

    @rule(data=st.data())
    def a_person_changes_a_secret(self, data: st.DataObject) -> None:
        """By hand, to anything."""
        self.meddle(data.draw(st.sampled_from(sorted(self.world.secrets))), data)

    @rule(live=st.none() | PASSWORDS)
    def the_database_is_restored(self, live: str | None) -> None:
        """With an older password, or without the role."""
        self.world.live = live

    @rule(goal=GOALS, fixed=st.none() | st.just("fixed"), steps=st.integers(1, 25))
    def a_run_is_killed(self, goal: Goal, fixed: str | None, steps: int) -> None:
        """After any number of steps."""
        run(self.world, goal, fixed, steps)

    @rule(goal=GOALS, fixed=st.none() | st.just("fixed"))
    def a_run_ends_well(self, goal: Goal, fixed: str | None) -> None:
        """Every secret's AWSCURRENT then opens the server, and the next run has nothing to do."""
        run_to_the_end(self.world, goal, fixed)


KilledRuns.TestCase.settings = settings(max_examples=300, stateful_step_count=8, deadline=None)
TestKilledRuns = KilledRuns.TestCase


RUNS: list[tuple[Goal, str | None]] = [("keep", None), ("rotate", None), ("keep", "fixed")]


def every_secret() -> Iterator[Secret]:
    """Every state one secret can be in, with the passwords a and b and an unusable payload."""
    payloads: list[dict[str, object] | None] = [None, *({**FIELDS, "password": password} for password in "ab")]
    for kind in ("missing", "empty", "deleted", "current", "both", "pending"):
        for first, second in itertools.product(payloads, repeat=2):
            secret = Secret(exists=kind != "missing", deleted=kind == "deleted")
            if kind in {"deleted", "current", "pending"}:
                secret.put(first, pending=False)
            if kind in {"both", "pending"}:
                secret.put(second, pending=True)
            yield secret
            if kind in {"missing", "empty"}:
                break


@pytest.mark.parametrize("live", [None, "a", "b"])
@pytest.mark.parametrize(("goal", "fixed"), RUNS)
def test_one_secret_in_every_state_killed_at_every_step(live: str | None, goal: Goal, fixed: str | None) -> None:
    """All of them, not a sample: no step loses the live password, and any next run ends well."""
    for secret in every_secret():
        for steps in range(MOST_STEPS):
            world = World({"s": copy.deepcopy(secret)}, live)
            ended = run(world, goal, fixed, steps)
            for next_goal, next_fixed in RUNS:
                run_to_the_end(copy.deepcopy(world), next_goal, next_fixed)
            if ended:
                break


def steps_of(world: World, goal: Goal) -> list[str]:
    """The names of the steps of one whole run."""
    facts, taken = world.facts(goal), list[str]()
    while not isinstance(step := decide(facts), Done):
        taken.append(type(step).__name__)
        facts = world.take(facts, step)
    return taken


def two(current: str) -> World:
    """Two secrets that hold the live password."""
    world = World({"s0": Secret(), "s1": Secret()}, current)
    for secret in world.secrets.values():
        secret.put({**FIELDS, "password": current}, pending=False)
    return world


def test_a_rotation_writes_all_before_the_server_and_promotes_all_after_the_login() -> None:
    """The order DESIGN section 7 asks for."""
    assert steps_of(two("a"), "rotate") == [
        "MakePassword", "PutPending", "PutPending", "SetOnServer", "Prove", "Promote", "Promote", "DropPending",
        "DropPending",
    ]  # fmt: skip


def test_a_new_identity_costs_one_write_and_one_login() -> None:
    """The first version of a secret is AWSCURRENT whatever is asked for, so it is created with its password."""
    world = World({"s0": Secret(exists=False)}, None)
    assert steps_of(world, "keep") == ["MakePassword", "Create", "SetOnServer", "Prove"]


def test_a_clean_identity_costs_one_login() -> None:
    """And no write."""
    assert steps_of(two("a"), "keep") == ["Prove", "Target"]


def test_provisioning_leaves_a_rotation_alone_that_has_not_touched_the_server() -> None:
    """Ending it would cut off clients that never re-read their secret; only ``rotate`` may do that."""
    world = two("a")
    world.secrets["s0"].put({**FIELDS, "password": "b"}, pending=True)
    assert steps_of(world, "keep") == ["Prove", "Target"]
    assert "MakePassword" not in steps_of(world, "rotate")
    assert world.live == "b"


def test_a_password_the_server_took_but_refuses_is_a_failure() -> None:
    """And not an endless loop."""
    secret = SecretState("s", current=Version("v", {"password": "a"}))
    assert decide(Facts("keep", (secret,), opens={"a": False}, target="a", was_set=True)) == Failed()


@pytest.mark.parametrize(
    ("payload", "answer"),
    [
        ({**FIELDS}, True),
        ({**FIELDS, "port": "5432", "extra": 1}, True),
        ({"username": "u", "host": "h", "port": 5432, "dbname": "d"}, True),
        ({**FIELDS, "dbname": "other"}, True),
        ({**FIELDS, "host": "other"}, False),
        ({"host": "h", "port": 5432, "database": "d"}, False),
        (None, False),
    ],
)
def test_a_payload_is_rewritten_only_when_it_says_something_else(
    payload: dict[str, object] | None, answer: bool
) -> None:
    """Ports as text and ``dbname`` are within the contract."""
    assert fits(payload, FIELDS) is answer


def test_a_new_payload_keeps_what_others_wrote_there() -> None:
    """And lets no second spelling of the database differ."""
    old = SecretState("s", current=Version("v", {"password": "a", "dbname": "x", "note": 1}), fields=FIELDS)
    assert new_payload(old, "b") == {**FIELDS, "dbname": "d", "note": 1, "password": "b"}


def test_no_repr_shows_a_password() -> None:
    """Steps and facts end up in tracebacks."""
    secret = SecretState("s", current=Version("v", {"password": "canary"}))
    facts = Facts("keep", (secret,), opens={"canary": True}, target="canary")
    assert "canary" not in repr((facts, Prove("canary"), Target("canary"), Promote(secret, Version("v", {}))))
