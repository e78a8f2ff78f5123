"""Laws of reading specs: what is written is read back, and no bytes make anything but a SpecError."""

import re
import secrets
from pathlib import Path
from typing import Any

import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from soa_db.access.spec import Spec, load_spec
from soa_db.errors import SpecError

IDENTIFIERS = st.text(
    st.characters(codec="utf-8", exclude_categories=["C", "Z"], exclude_characters="*?$\ufeff"), min_size=1, max_size=15
).filter(lambda text: not re.match(r"pg_|rds_|public$|none$|postgres$|template|information_schema", text))
# PyYAML writes by YAML 1.1 and leaves 0E0 and 0o7 unquoted, which are numbers in the YAML 1.2 that specs are read by.
IDENTIFIERS = IDENTIFIERS.filter(lambda text: not re.match(r"[-+.]*[0-9][0-9._]*[eEox]", text))
ROLES = st.sampled_from(["app", "ro"])
WRITES = st.sampled_from(["select", "insert", "update", "delete", "truncate"])
SERVICES = st.from_regex(r"[a-z][a-z0-9]{0,8}(-[a-z0-9]{1,5}){0,2}", fullmatch=True).filter(lambda text: text != "me")


@st.composite
def specs(draw: st.DrawFn) -> Spec:
    """Valid specs, made the way a person fills in the parts."""
    ids = draw(st.lists(st.from_regex(r"[a-z][a-z0-9]{0,5}", fullmatch=True), min_size=1, max_size=3, unique=True))
    names = draw(st.lists(IDENTIFIERS, min_size=3 * len(ids), max_size=3 * len(ids), unique=True))
    databases: list[dict[str, Any]] = [
        {
            "id": db_id,
            "database": names[3 * number],
            "schemas": draw(st.lists(IDENTIFIERS, min_size=1, max_size=3, unique=True)),
            "identities": {"app": names[3 * number + 1]} if draw(st.booleans()) else {},
            "grants": {"app": draw(st.lists(WRITES, unique=True))} if draw(st.booleans()) else {},
        }
        for number, db_id in enumerate(ids)
    ]
    schema: str = databases[0]["schemas"][0]
    quoted = '"' + schema.replace('"', '""') + '"'
    grants = draw(
        st.lists(
            st.builds(
                lambda name, privileges: {
                    "to": "app",
                    "db": ids[0],
                    "on": f"{quoted}.{name}",
                    "privileges": privileges,
                },
                st.from_regex(r"[a-z]{1,5}\*?", fullmatch=True),
                st.lists(WRITES, min_size=1, unique=True),
            ),
            max_size=3,
            unique_by=str,
        )
    )
    reads = draw(st.lists(SERVICES, max_size=2, unique=True))
    postgres = {
        "databases": databases,
        "extra_grants": grants,
        "reads": [{"service": service, "tables": ["public.x_*"], "to": [draw(ROLES)]} for service in reads],
    }
    parts = {
        "postgres": postgres,
        "redis": {"keys": ["me:*"], "scan": draw(st.booleans())},
        "mongo": {"retire": [{"user": name} for name in names[:1]]},
    }
    chosen = draw(st.sets(st.sampled_from(sorted(parts))))
    return Spec.model_validate({"version": 1, "service": "me", **{key: parts[key] for key in sorted(chosen)}})


def load(folder: Path, content: bytes) -> Spec:
    """Through a real file."""
    file = folder / f"{secrets.token_hex(4)}.yaml"
    file.write_bytes(content)
    try:
        return load_spec(file)
    finally:
        file.unlink()


def faults(folder: Path, content: bytes) -> tuple[str, ...]:
    """The problems of a file; none when it is a spec."""
    try:
        load(folder, content)
    except SpecError as error:
        return error.problems or ("a SpecError without a problem",)
    return ()


ONE_FOLDER = settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None)


@ONE_FOLDER
@given(spec=specs(), flow=st.booleans(), wide=st.booleans())
def test_a_valid_spec_reads_back_as_written(tmp_path: Path, spec: Spec, flow: bool, wide: bool) -> None:
    """Model → YAML → file → model, in block and flow style, escaped or not."""
    data = spec.model_dump(mode="json", exclude_unset=True)
    text = yaml.safe_dump(data, default_flow_style=flow, allow_unicode=wide, sort_keys=False)
    assert load(tmp_path, text.encode()) == spec


VALID = (Path(__file__).resolve().parents[3] / "examples" / "rostering" / "db-access.yaml").read_bytes()
PROBLEM = re.compile(r".+\.yaml:[1-9]\d*:[1-9]\d*: .+", re.DOTALL)


@ONE_FOLDER
@given(
    st.lists(st.tuples(st.integers(0, len(VALID)), st.integers(0, 4), st.binary(max_size=4)), min_size=1, max_size=6)
)
@example([(0, 0, b"%YAML 1.99999999999999999999\n---\n")])
@example([(0, 0, b'"\\UFFFFFFFF": ')])
@example([(0, 0, b'"\\xF')])
@example([(0, 0, b"!%zz ")])
@example([(0, 0, b"%TAG ! tag:%ff\n--- !x ")])
@example([(0, 0, b"[" * 5000)])
@example([(0, len(VALID), b"x: " + b"9" * 9000)])
def test_mangled_bytes_make_a_spec_error_with_places_or_a_spec(
    tmp_path: Path, cuts: list[tuple[int, int, bytes]]
) -> None:
    """Never another exception, and each problem has file, line and column."""
    content = VALID
    for at, removed, put in cuts:
        content = content[:at] + put + content[at + removed :]
    for problem in faults(tmp_path, content):
        assert PROBLEM.fullmatch(problem), problem


WORDS = """version service postgres redis mongo databases id schemas isolated identities grants owner app ro on to
extra_grants privileges revoke columns reads tables shared_with retire role keys scan roles collections user"""
KEYS = st.sampled_from(WORDS.split())
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just(1)
TREES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS | st.text(max_size=3), inner),
    max_leaves=12,
)


@ONE_FOLDER
@given(part=st.sampled_from(["postgres", "redis", "mongo"]), tree=TREES)
def test_any_tree_under_known_keys_makes_a_spec_error_or_a_spec(tmp_path: Path, part: str, tree: object) -> None:
    """Well-formed YAML of the wrong shape; messages are made for every kind of value."""
    text = yaml.safe_dump({"version": 1, "service": "me", part: tree}, allow_unicode=True)
    for problem in faults(tmp_path, text.encode("utf-8", "replace")):
        assert PROBLEM.fullmatch(problem), problem
