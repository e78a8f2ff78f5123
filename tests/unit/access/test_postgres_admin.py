"""Where the administrator's coordinates come from, and what cannot be used."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

import pytest

from soa_db.access.postgres.admin import AdminServer, admin_config
from soa_db.config import AwsTarget, PasswordAuth, SecretAuth
from soa_db.errors import ConfigurationError, SecretMalformed

if TYPE_CHECKING:
    from soa_db.aws import AwsClients

PREFIX = {"dev": "/dev/postgres-shared", "mirror": "/mirror/current/postgres-rds", "prod": "/prod/postgres-rds"}


class Aws:
    """The parameters and the secret of one environment."""

    target = AwsTarget()

    def __init__(self, prefix: str, secret: Mapping[str, object], port: str = "5433") -> None:
        self._parameters = {
            f"{prefix}/endpoint": "db.example ",
            f"{prefix}/port": port,
            f"{prefix}/master-secret-arn": "the-arn",
        }
        self._secret = secret

    def parameters(self, names: list[str]) -> dict[str, str]:
        """As AwsClients."""
        return {name: self._parameters[name] for name in names}

    def secret(self, secret_id: str) -> Mapping[str, object]:
        """As AwsClients."""
        assert secret_id == "the-arn"
        return self._secret


def aws(prefix: str, secret: Mapping[str, object], **more: Any) -> AwsClients:
    """Those, for a function that wants the real ones."""
    return cast("AwsClients", Aws(prefix, secret, **more))


@pytest.mark.parametrize("env", ["dev", "mirror", "prod"])
def test_coordinates_come_from_parameters_and_the_master_secret(env: Any) -> None:
    """Host and port of the secret win; TLS is on but in dev; the password stays a secret."""
    secret = {"username": "master", "password": "canary"}
    config = admin_config(env, aws=aws(PREFIX[env], secret))
    assert (config.host, config.port, config.user) == ("db.example", 5433, "master")
    assert config.auth == SecretAuth(secret_id="the-arn")
    assert (config.tls is None) == (env == "dev")
    assert "canary" not in repr(AdminServer(config))

    config = admin_config(env, aws=aws(PREFIX[env], {**secret, "host": "h", "port": 1}))
    assert (config.host, config.port) == ("h", 1)


def test_an_url_wins() -> None:
    """Over what AWS says; the password is masked."""
    config = admin_config("prod", admin_url="postgresql://u:canary@argument:1/postgres")
    assert config.host == "argument"
    assert isinstance(config.auth, PasswordAuth)
    assert "canary" not in repr(config)
    assert AdminServer(config).address == "argument:1"


def test_what_cannot_be_used_is_said_without_the_secret() -> None:
    """No AWS and no URL, no user, a bad port, a secret without a user."""
    with pytest.raises(ConfigurationError, match="neither"):
        admin_config("dev")
    with pytest.raises(ConfigurationError, match="names no user"):
        admin_config("dev", admin_url="postgresql://host/postgres")
    for port in ("abc", "70000", "0"):
        with pytest.raises(ConfigurationError, match="1 to 65535"):
            admin_config("dev", aws=aws(PREFIX["dev"], {"username": "m", "password": "p"}, port=port))
    with pytest.raises(SecretMalformed, match="username") as caught:
        admin_config("dev", aws=aws(PREFIX["dev"], {"password": "canary"}))
    assert "canary" not in str(caught.value)
