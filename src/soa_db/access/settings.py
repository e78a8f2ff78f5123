"""``soa-db.toml``: which AWS account each environment is in, and how to get there. Optional.

::

    [environments.prod]
    account = "222222222222"      # commands refuse to run as anybody of another account
    region = "us-west-2"
    profile = "prod"              # or
    role_arn = "arn:aws:iam::222222222222:role/platform"
    external_id = "…"             # what the role's trust policy may demand
    endpoint_url = "https://…"    # the local environment, VPC endpoints
    redis = "elasticache"         # or "self": how Redis is administered
    redis_iam = ["chat-api"]      # services whose users log in to ElastiCache by IAM tokens (auth="iam")

The file holds no secret.
"""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Protocol

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator, model_validator

from soa_db.config import AwsTarget
from soa_db.errors import ConfigurationError
from soa_db.names import Env, check_env, check_service

if TYPE_CHECKING:
    from soa_db.aws import AwsClients

__all__ = ["SETTINGS_FILE", "SETTINGS_VARIABLE", "EnvironmentSettings", "RedisBackend", "Settings", "load_settings"]

SETTINGS_FILE = "soa-db.toml"
SETTINGS_VARIABLE = "SOA_DB_SETTINGS"

RedisBackend = Literal["elasticache", "self"]
_ROLE_ARN = re.compile(r"arn:aws[a-z-]*:iam::(\d{12}):role/\S+")


class _Identity(Protocol):
    @property
    def account(self) -> str: ...
    @property
    def arn(self) -> str: ...


class _Caller(Protocol):
    def caller_identity(self) -> _Identity: ...


@dataclass(frozen=True, slots=True)
class EnvironmentSettings:
    """One environment's part of the file; all empty when the file does not name it.

    Attributes:
        account: the AWS account (12 digits) commands must run in; None means any.
        region: AWS region; None follows the configuration of the process.
        profile: profile of the shared AWS configuration.
        role_arn: role to assume.
        external_id: external id the role's trust policy may demand.
        endpoint_url: another endpoint for every AWS service.
        redis_backend: how Redis users are made: through ElastiCache's API or on the server itself.
        redis_iam: services whose Redis users log in by IAM tokens of ElastiCache, not by a password; mirror and prod.
    """

    account: str | None = None
    region: str | None = None
    profile: str | None = None
    role_arn: str | None = None
    external_id: str | None = None
    endpoint_url: str | None = None
    redis_backend: RedisBackend = "elasticache"
    redis_iam: tuple[str, ...] = ()

    @property
    def target(self) -> AwsTarget:
        """Where and as whom AWS is asked in this environment."""
        return AwsTarget(
            region=self.region,
            profile=self.profile,
            role_arn=self.role_arn,
            external_id=self.external_id,
            endpoint_url=self.endpoint_url,
        )


@dataclass(frozen=True, slots=True)
class Settings:
    """What ``soa-db.toml`` says.

    Attributes:
        source: the file, None when there is none.
    """

    source: Path | None = None
    environments: dict[Env, EnvironmentSettings] = field(default_factory=dict)

    def environment(self, env: str) -> EnvironmentSettings:
        """The settings of ``env``, empty ones when the file does not name it.

        Raises:
            ConfigurationError: there is no such environment.
        """
        return self.environments.get(check_env(env), EnvironmentSettings())

    def aws_for(self, env: str) -> AwsClients:
        """Return clients for ``env``: where and as whom the file says. Asks nothing yet.

        Raises:
            ConfigurationError: there is no such environment.
        """
        from soa_db.aws import AwsClients

        return AwsClients.from_target(self.environment(env).target)

    def check_account(self, aws: _Caller, env: str) -> None:
        """Refuse to go on as somebody of another account than the one expected for ``env``.

        Asks AWS only when the file names an account.

        Raises:
            ConfigurationError: the caller is in another account.
        """
        settings = self.environment(env)
        if settings.account is None:
            return
        identity = aws.caller_identity()
        if identity.account == settings.account:
            return
        way = "the role_arn" if settings.role_arn else "the profile" if settings.profile else "AWS credentials"
        raise ConfigurationError(
            f"{env} is AWS account {settings.account}, but the caller is in account {identity.account}",
            hint=f"use {way} of account {settings.account}, or mend [environments.{env}] in {self.source}",
            caller=identity.arn,
        )


def load_settings(path: str | os.PathLike[str] | None = None) -> Settings:
    """Read the settings of this process.

    Looked for in order: ``path``; the file named by ``SOA_DB_SETTINGS``; ``soa-db.toml`` in the working directory or
    a parent of it, up to the root of the repository (the folder with ``.git``). Outside a repository the parents are
    not searched. No file found is no error: the settings are empty.

    Raises:
        ConfigurationError: the file named is missing or unreadable, or holds what it must not; file and key are named.
    """
    if path is not None:
        return _read(Path(path), named_by="")
    if named := os.environ.get(SETTINGS_VARIABLE):
        return _read(Path(named), named_by=f" named by {SETTINGS_VARIABLE}")
    found = _search(Path.cwd())
    return Settings() if found is None else _read(found, named_by="")


def _search(start: Path) -> Path | None:
    folders = [start, *start.parents]
    roots = [index for index, folder in enumerate(folders) if (folder / ".git").exists()]
    reach = folders[: roots[0] + 1] if roots else folders[:1]
    return next((folder / SETTINGS_FILE for folder in reach if (folder / SETTINGS_FILE).is_file()), None)


def _read(path: Path, *, named_by: str) -> Settings:
    try:
        content = tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError as error:
        raise ConfigurationError(f"there is no settings file {path}{named_by}") from error
    except OSError as error:
        raise ConfigurationError(f"cannot read the settings file {path}{named_by}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{path}: the file is not UTF-8 text") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{path}: not valid TOML: {error}") from error
    try:
        document = _Document.model_validate(content)
    except ValidationError as error:
        faults = error.errors(include_input=False, include_context=True, include_url=False)
        lines = [_sentence(".".join(map(str, fault["loc"])), fault["type"], fault["msg"]) for fault in faults]
        raise ConfigurationError("\n  ".join((f"{path}:", *lines)) if lines[1:] else f"{path}: {lines[0]}") from None
    tables: dict[Env, _Environment | None] = {
        "dev": document.environments.dev,
        "mirror": document.environments.mirror,
        "prod": document.environments.prod,
    }
    return Settings(path, {env: table.settings() for env, table in tables.items() if table is not None})


def _text(value: object) -> object:
    if not isinstance(value, str):
        raise ValueError('write it as text, in quotes ("…")')  # noqa: TRY004  (pydantic collects only ValueError)
    if not value or value != value.strip() or not value.isprintable():
        raise ValueError("empty, or with blanks around it or control characters in it")
    return value


_Text = Annotated[str, BeforeValidator(_text)]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)


class _Environment(_Table):
    account: _Text | None = None
    region: _Text | None = None
    profile: _Text | None = None
    role_arn: _Text | None = None
    external_id: _Text | None = None
    endpoint_url: _Text | None = None
    redis: RedisBackend = "elasticache"
    redis_iam: tuple[_Text, ...] = ()

    @field_validator("account")
    @classmethod
    def _twelve_digits(cls, account: str | None) -> str | None:
        if account is not None and not re.fullmatch(r"[0-9]{12}", account):
            raise ValueError("an AWS account id is 12 digits")
        return account

    @field_validator("redis_iam")
    @classmethod
    def _services(cls, services: tuple[str, ...]) -> tuple[str, ...]:
        for index, service in enumerate(services):
            check_service(service)
            if service in services[:index]:
                raise ValueError(f"{service} stands there twice")
        return services

    @field_validator("endpoint_url")
    @classmethod
    def _url(cls, url: str | None) -> str | None:
        if url is not None and not re.match(r"https?://[^/\s]+", url):
            raise ValueError("not a URL starting with http:// or https://")
        return url

    @model_validator(mode="after")
    def _consistent(self) -> _Environment:
        role = None if self.role_arn is None else _ROLE_ARN.fullmatch(self.role_arn)
        if self.role_arn is not None and role is None:
            raise ValueError("role_arn is not the ARN of an IAM role (arn:aws:iam::ACCOUNT:role/NAME)")
        if role is not None and self.account is not None and role[1] != self.account:
            raise ValueError(f"role_arn is of account {role[1]}, but account says {self.account}")
        if self.external_id is not None and role is None:
            raise ValueError("external_id is for a role_arn, and there is none")
        if self.redis_iam and self.redis != "elasticache":
            raise ValueError('redis_iam is for ElastiCache, and redis is "self"')
        return self

    def settings(self) -> EnvironmentSettings:
        return EnvironmentSettings(
            account=self.account,
            region=self.region,
            profile=self.profile,
            role_arn=self.role_arn,
            external_id=self.external_id,
            endpoint_url=self.endpoint_url,
            redis_backend=self.redis,
            redis_iam=self.redis_iam,
        )


class _Environments(_Table):
    dev: _Environment | None = None
    mirror: _Environment | None = None
    prod: _Environment | None = None

    @field_validator("dev")
    @classmethod
    def _no_elasticache(cls, dev: _Environment | None) -> _Environment | None:
        if dev is not None and dev.redis_iam:
            raise ValueError("redis_iam is for ElastiCache, and in dev there is none")
        return dev


class _Document(_Table):
    environments: _Environments = Field(default_factory=_Environments)


def _sentence(key: str, kind: str, message: str) -> str:
    if kind != "extra_forbidden":
        return f"{key}: {message.removeprefix('Value error, ')}"
    parent, _, name = key.rpartition(".")
    tables: dict[str, type[_Table]] = {"": _Document, "environments": _Environments}
    known = tuple(tables.get(parent, _Environment).model_fields)
    close = difflib.get_close_matches(name, known, n=1)
    advice = f"did you mean {close[0]!r}?" if close else f"known are {', '.join(known)}"
    return f"{key}: unknown key; {advice}"
