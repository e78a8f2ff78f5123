"""The error tree: one root, readable texts, nothing lost in a pickle."""

import pickle
import subprocess
import sys

import pytest

import soa_db
from soa_db import errors


@pytest.mark.parametrize("name", errors.__all__)
def test_every_error_has_the_one_root_and_stands_in_the_public_face(name: str) -> None:
    """Whoever catches SoaDbError catches everything of ours."""
    cls = getattr(errors, name)
    assert issubclass(cls, errors.SoaDbError)
    assert getattr(soa_db, name) is cls


def test_the_text_holds_what_was_tried_and_the_next_step() -> None:
    """Empty context is left out."""
    error = errors.SecretNotFound("no such secret", hint="provision it", env="dev", service=None, role="")
    assert str(error) == "no such secret (env=dev)\n  hint: provision it"


def test_a_pickled_error_keeps_hint_context_and_type() -> None:
    """Errors cross process boundaries (Celery, multiprocessing)."""
    spec = pickle.loads(pickle.dumps(errors.SpecError(["a.yaml:1:2: bad"])))
    assert spec.problems == ("a.yaml:1:2: bad",)
    copy = pickle.loads(pickle.dumps(errors.AccessDenied("no", hint="ask", action="ssm:GetParameter")))
    assert type(copy) is errors.AccessDenied
    assert (copy.message, copy.hint, copy.context) == ("no", "ask", {"action": "ssm:GetParameter"})


def test_a_missing_driver_is_said_with_the_command_that_installs_it() -> None:
    """In a process of its own, where psycopg cannot be found."""
    script = (
        "import sys\nsys.modules['psycopg'] = None\nfrom soa_db import MissingExtra\n"
        "try:\n    import soa_db.postgres\nexcept MissingExtra as error:\n    print(error.hint)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.stderr) == ("pip install 'soa-db[postgres]'", "")
