"""The committed JSON Schema: what editors check agrees with what the reader says."""

import json
from importlib import resources
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"


@pytest.fixture(scope="module")
def validator() -> jsonschema.Draft202012Validator:
    """A validator over the file the package carries."""
    schema = json.loads((resources.files("soa_db") / "data" / "db-access.schema.json").read_text("utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def valid() -> dict[str, Any]:
    """The richest example."""
    # PyYAML's own reader takes `on` for a boolean; editors follow YAML 1.2.
    text = (EXAMPLES / "rostering" / "db-access.yaml").read_text().replace(" on: ", ' "on": ')
    loaded: dict[str, Any] = yaml.safe_load(text)
    return loaded


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*/db-access.yaml")), ids=lambda path: path.parent.name)
def test_the_examples_are_valid(validator: jsonschema.Draft202012Validator, path: Path) -> None:
    """All seven."""
    validator.validate(yaml.safe_load(path.read_text().replace(" on: ", ' "on": ')))


@pytest.mark.parametrize(
    ("where", "value"),
    [
        ((), {"postgress": {}}),
        ((), {"version": 2}),
        ((), {"service": "Iam_API"}),
        ((), {"postgres": None}),
        (("postgres",), {"host": "x"}),
        (("postgres", "databases", 0), {"shemas": ["x"]}),
        (("postgres", "databases", 0), {"schemas": "public"}),
        (("postgres", "databases", 0), {"database": "x" * 64}),
        (("postgres", "databases", 0), {"identities": {"admin": "x"}}),
        (("postgres", "databases", 0), {"grants": {"owner": ["select"]}}),
        (("postgres", "extra_grants", 0), {"privileges": ["selct"]}),
        (("postgres", "extra_grants", 0), {"on": "rooms"}),
        (("postgres", "shared_with", 0), {"tables": []}),
        (("postgres", "retire", 0), {"roles": "x"}),
        (("redis",), {"profile": "queu"}),
        ((), {"mongo": {"roles": ["root"]}}),
    ],
)
def test_what_the_reader_refuses_the_schema_refuses(
    validator: jsonschema.Draft202012Validator, where: tuple[str | int, ...], value: dict[str, Any]
) -> None:
    """Unknown keys on every level, and what one value can't be."""
    data = valid()
    validator.validate(data)
    place: Any = data
    for part in where:
        place = place[part]
    place.update(value)
    assert not validator.is_valid(data)


def test_every_key_is_described(validator: jsonschema.Draft202012Validator) -> None:
    """Editors show the description beside the key."""
    schema = validator.schema
    assert isinstance(schema, dict)
    for part in (schema, *schema["$defs"].values()):
        for key, entry in part["properties"].items():
            assert entry.get("description"), key
