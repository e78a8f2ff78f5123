"""Every rule within one spec: its words, and the place it points at (marked with § in the text)."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from soa_db.access.spec import ExtraGrant, PostgresDatabase, PostgresSpec, Spec, SpecSet, load_spec
from soa_db.errors import ConfigurationError, SpecError

HEAD = "version: 1\nservice: iam-api\n"


def cases() -> list[tuple[str, str]]:
    """The marked texts of spec_faults.txt and what is said of each."""
    found = []
    for block in Path(__file__).with_name("spec_faults.txt").read_text("utf-8").split("\n\n")[1:]:
        text, words = block.strip().split("\n=> ")
        head = "" if text.startswith("version") else HEAD
        found.append((f"{head}{text}\n", words))
    return found


@pytest.mark.parametrize(("marked", "words"), cases())
def test_one_fault_is_told_in_its_words_at_its_place(tmp_path: Path, marked: str, words: str) -> None:
    """Exactly this one problem, at the mark."""
    before = marked[: marked.index("§")]
    place = f"{before.count(chr(10)) + 1}:{len(before) - (before.rfind(chr(10)) + 1) + 1}"
    file = tmp_path / "db-access.yaml"
    file.write_text(marked.replace("§", ""))
    with pytest.raises(SpecError) as caught:
        load_spec(file)
    assert caught.value.problems == (f"{file}:{place}: {words}",)


def test_an_isolated_database_needs_users_of_its_own(tmp_path: Path) -> None:
    """Each shared role is told, with the way out; a user of the other database under another role too."""
    file = tmp_path / "db-access.yaml"
    file.write_text(
        HEAD
        + """postgres:
  databases:
    - {}
    - {id: pii, isolated: true, identities: {app: a2, ro: iam_api_app}}
"""
    )
    with pytest.raises(SpecError) as caught:
        load_spec(file)
    first, second = caught.value.problems
    assert first == (
        f"{file}:6:7: the database 'pii' is isolated but shares the user 'iam_api_owner' with 'main': give the "
        "isolated one a user of its own (or null) as `owner` in `identities`"
    )
    assert second == f"{file}:6:59: the user 'iam_api_app' plays the role app already: one user, one role"


def test_a_spec_without_a_head_lacks_both_keys(tmp_path: Path) -> None:
    """At the place where the mapping starts."""
    file = tmp_path / "db-access.yaml"
    file.write_text("postgres: {}\n")
    with pytest.raises(SpecError) as caught:
        load_spec(file)
    assert caught.value.problems == (f"{file}:1:1: `service` is missing", f"{file}:1:1: `version` is missing")


def test_an_isolated_database_with_users_of_its_own_is_taken(tmp_path: Path) -> None:
    """Before or after the other in the file."""
    file = tmp_path / "db-access.yaml"
    file.write_text(
        HEAD
        + "postgres:\n  databases:\n    - {}\n"
        + "    - {id: pii, isolated: true, identities: {owner: o2, app: a2, ro: null}}\n"
    )
    assert load_spec(file).postgres_user("pii", "app") == "a2"


def test_hostile_names_that_postgresql_allows_are_taken_as_they_are(tmp_path: Path) -> None:
    """SQL is composed, so quotes, semicolons, percent signs and other alphabets are just names."""
    file = tmp_path / "db-access.yaml"
    file.write_text(
        HEAD
        + """postgres:
  databases:
    - database: '"; drop database x; --'
      schemas: ['public', 'Ünï %s', 'a.b']
      identities: {app: 'ro"bert'}
  extra_grants:
    - {to: app, on: '"a.b"."100% ""odd"" * (x)"', revoke: [delete]}
    - {to: app, on: 'Ünï %s.Käse_*', revoke: [delete]}
  retire: [{role: 'x; drop role y'}]
""",
        "utf-8",
    )
    spec = load_spec(file)
    assert spec.postgres
    assert spec.postgres_database("main") == '"; drop database x; --'
    assert spec.postgres.extra_grants[0].pattern.exact == '100% "odd" * (x)'
    assert spec.postgres.extra_grants[1].pattern.matches("Ünï %s", "Käse_1")


def test_what_a_loader_asks_that_the_spec_does_not_declare_is_a_configuration_error() -> None:
    """With what is declared."""
    spec = Spec(
        version=1, service="iam-api", postgres=PostgresSpec(databases=(PostgresDatabase(identities={"ro": None}),))
    )
    with pytest.raises(ConfigurationError, match="nobody plays the role ro"):
        spec.postgres_user(None, "ro")
    with pytest.raises(ConfigurationError, match="declares no PostgreSQL database 'pii'"):
        spec.postgres_database("pii")
    with pytest.raises(ConfigurationError, match="declared: none"):
        Spec(version=1, service="iam-api").postgres_database(None)


def test_specs_made_in_code_follow_the_same_rules() -> None:
    """The models hold the rules, not the reader of files."""
    with pytest.raises(ValidationError, match="nothing is given or taken"):
        ExtraGrant(to="app", on="public.x")
    one = Spec(version=1, service="a", postgres=PostgresSpec())
    with pytest.raises(SpecError, match="a: service: a second spec for a"):
        SpecSet((one, one))


def test_defaults_are_filled_in() -> None:
    """Keys, channels, databases and privileges nobody wrote down."""
    spec = Spec.model_validate({"version": 1, "service": "iam-api", "postgres": {}, "redis": {}, "mongo": {}})
    assert spec.redis_keys() == spec.redis_channels() == ("iam-api:*",)
    assert (spec.mongo_database(), spec.mongo_user()) == ("iam_api_db", "iam_api_app")
    (database,) = spec.postgres_databases()
    assert database.table_privileges("owner") == ()
    assert database.table_privileges("app") == ("select", "insert", "update", "delete")
    assert database.table_privileges("ro") == ("select",)
    bare = Spec(version=1, service="iam-api")
    assert (bare.redis_keys(), bare.redis_channels(), bare.postgres_databases()) == ((), (), ())


def test_two_faults_of_one_place_and_kind_do_not_hide_others(tmp_path: Path) -> None:
    """Faults of the text, of values and between fields come in one error where they don't depend on each other."""
    file = tmp_path / "db-access.yaml"
    file.write_text(
        "version: 1\nservice: X\npostgres:\n  databases: [{isolated: yes, shemas: [a]}, {}]\n"
        "  extra_grants: [{to: app, on: public.x}]\nmongo: {roles: [root]}\nmongo: {}\n"
    )
    with pytest.raises(SpecError) as caught:
        load_spec(file)
    places = [problem.removeprefix(f"{file}:").split(": ")[0] for problem in caught.value.problems]
    assert places == ["2:10", "4:26", "4:31", "5:18", "6:17", "7:1"]
