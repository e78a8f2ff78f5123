"""Roles in code: ``db-access.yaml`` → plan → provision → verify → rotate.

``plan``, ``apply``, ``rotate`` and ``verify`` are functions here and modules too: importing the functions now, after
the modules, is what lets the functions win. The modules load driver and AWS libraries only when they are called.
"""

from soa_db.errors import MissingExtra

try:
    import yaml as _yaml  # noqa: F401  # specs are read with it
except ModuleNotFoundError as error:
    raise MissingExtra("PyYAML is not installed", hint="pip install 'soa-db[cli]'") from error

from soa_db.access.apply import apply, plan
from soa_db.access.plan import ApplyResult, Change, Notice, Plan, PlanOptions, Progress, ProgressEvent, ServerPlan
from soa_db.access.plan_file import load_plan, save_plan
from soa_db.access.report import VerifyReport
from soa_db.access.rotate import Rotated, RotateResult, rotate
from soa_db.access.spec import Spec, SpecSet, load_spec, load_specs
from soa_db.access.verify import verify

__all__ = [
    "ApplyResult",
    "Change",
    "Notice",
    "Plan",
    "PlanOptions",
    "Progress",
    "ProgressEvent",
    "RotateResult",
    "Rotated",
    "ServerPlan",
    "Spec",
    "SpecSet",
    "VerifyReport",
    "apply",
    "load_plan",
    "load_spec",
    "load_specs",
    "plan",
    "rotate",
    "save_plan",
    "verify",
]
