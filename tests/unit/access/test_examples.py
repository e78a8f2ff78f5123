"""The seven services of ``examples/`` as specs."""

from pathlib import Path

from soa_db.access.mongo.desired import desired_state
from soa_db.access.spec import load_specs

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"


def test_the_examples_fit_together_and_agree_on_their_reads() -> None:
    """Seven services, each read agreed by its other side, personal data reached by its own users only."""
    specs = load_specs([EXAMPLES])
    assert sorted(specs.by_service) == ["coach", "iam-api", "janus", "program-hub", "qboard", "saga-dash", "sds-api"]
    assert not specs.pending_reads()
    agreed = {(read.reader.service, read.target.service, read.share.columns) for read in specs.agreed_reads()}
    assert agreed == {
        ("coach", "saga-dash", ()),
        ("coach", "iam-api", ("id", "display_name")),
        ("janus", "saga-dash", ("id", "title")),
        ("sds-api", "iam-api", ()),
    }
    mongo = desired_state(specs, "prod")
    assert not mongo.pending
    assert {(str(role), one.collections) for role, one in mongo.roles.items()} == {
        ("soa-db-read-for-coach on sds_api_db", frozenset({"imports"}))
    }
    assert sorted(user.name for user in mongo.users) == ["coach_app", "program_hub_app", "sds_api_app"]
    users = [identity.user for identity in specs.postgres_identities() if "iam_pii_db" in identity.databases]
    assert users == ["iam_pii_owner", "iam_pii_app"]


def test_the_example_of_the_reference_page_is_a_spec(tmp_path: Path) -> None:
    """docs/db-access.md shows what can be used."""
    page = (EXAMPLES.parent / "docs" / "db-access.md").read_text("utf-8")
    file = tmp_path / "db-access.yaml"
    file.write_text(page.split("```yaml\n")[1].split("```")[0])
    assert load_specs([file]).by_service["iam-api"].postgres_user("pii", "app") == "iam_pii_app"
