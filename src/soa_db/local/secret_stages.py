"""Two rules of Secrets Manager that moto lacks, and that a rotation rests on.

- A version that has content never changes: its token with other content is refused, also while it is ``AWSPENDING``
  (moto lets it be overwritten). API reference, PutSecretValue, ClientRequestToken.
- Reading without a stage means ``AWSCURRENT``, wherever UpdateSecretVersionStage has moved it (moto goes on giving the
  version that was put last as current, also in BatchGetSecretValue). API reference, GetSecretValue, VersionStage.
"""

from __future__ import annotations

from typing import Any

from moto.secretsmanager.exceptions import ResourceExistsException
from moto.secretsmanager.models import SecretsManagerBackend

__all__ = ["mend_secret_stages"]


def mend_secret_stages() -> None:
    """Make moto follow the two rules in this process; doing it twice does no harm."""
    backend: Any = SecretsManagerBackend
    if getattr(backend, "soa_db_mended", False):
        return
    put, move = backend.put_secret_value, backend.update_secret_version_stage

    def put_checked(self: Any, **wanted: Any) -> Any:
        secret = self.secrets.get(wanted["secret_id"])
        versions = {} if secret is None else getattr(secret, "versions", {})
        version = versions.get(wanted["client_request_token"]) or {}
        held = (version.get("secret_string"), version.get("secret_binary"))
        if held not in {(None, None), (wanted["secret_string"], wanted["secret_binary"])}:
            raise ResourceExistsException("You can't use this ClientRequestToken: it is that of a version already.")
        return put(self, **wanted)

    def move_and_follow(self: Any, **wanted: Any) -> Any:
        answer = move(self, **wanted)
        if wanted["version_stage"] == "AWSCURRENT" and wanted["move_to_version_id"]:
            self.secrets[wanted["secret_id"]].default_version_id = wanted["move_to_version_id"]
        return answer

    backend.put_secret_value = put_checked
    backend.update_secret_version_stage = move_and_follow
    backend.soa_db_mended = True
