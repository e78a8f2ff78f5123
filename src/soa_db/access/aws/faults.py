"""What may be wrong with the secret that holds a user's password, before anybody has logged in with it. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from soa_db.access.aws.stages import fits

if TYPE_CHECKING:
    from collections.abc import Mapping

    from soa_db.access.aws.stages import Version

__all__ = ["DOCUMENTED", "documented_fault", "secret_fault"]

# Everybody can read it in the documentation: without --insecure-dev it is no password. Mended by goal="rotate" of
# issue_password: "keep" would keep it, being the live password.
DOCUMENTED = "it is the fixed development password"


def secret_fault(name: str, version: Version | None, fields: Mapping[str, object]) -> str:
    """What is wrong with a secret's AWSCURRENT version; empty when nothing is.

    Args:
        name: the secret's name.
        version: its version, as ``read_passwords`` gives it.
        fields: what the payload must say beside the password.
    """
    if version is None:
        return f"new secret {name}"
    if version.payload is None:
        return f"secret {name} is malformed"
    wrong = [field for field, value in fields.items() if not fits(version.payload, {field: value})]
    return f"secret {name} has another {', '.join(wrong)}" if wrong else ""


def documented_fault(*, wanted: bool, found: bool) -> str:
    """What is wrong with a password that is, or is not, the fixed one of ``--insecure-dev``; empty when nothing is."""
    if wanted == found:
        return ""
    return "it is not the fixed development password" if wanted else DOCUMENTED
