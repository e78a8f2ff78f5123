"""soa-db.toml: found where it should be, refused with file and key, and the guard against a foreign account."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from soa_db.access.settings import EnvironmentSettings, Settings, load_settings
from soa_db.config import AwsTarget
from soa_db.errors import ConfigurationError


@dataclass(frozen=True)
class Identity:
    account: str
    arn: str


@dataclass
class Caller:
    identity: Identity
    asked: int = 0

    def caller_identity(self) -> Identity:
        self.asked += 1
        return self.identity


@pytest.fixture(autouse=True)
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No settings of the machine reach a test."""
    monkeypatch.delenv("SOA_DB_SETTINGS", raising=False)
    folder = tmp_path / "cwd"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return tmp_path


def write(path: Path, text: str) -> Path:
    """Make a file and its folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")
    return path


FULL = """
[environments.prod]
account = "222222222222"
region = "eu-west-1"
profile = "p"
role_arn = "arn:aws:iam::222222222222:role/platform"
external_id = "x"
endpoint_url = "http://localhost:5000"
redis = "self"

[environments.mirror]
redis_iam = ["chat-api", "iam-api"]
"""


def test_every_key_arrives(tmp_path: Path) -> None:
    """What the file says is what the environment has, and what AWS is asked with."""
    settings = load_settings(write(tmp_path / "any.toml", FULL))
    prod = settings.environment("prod")
    assert prod == EnvironmentSettings(
        account="222222222222",
        region="eu-west-1",
        profile="p",
        role_arn="arn:aws:iam::222222222222:role/platform",
        external_id="x",
        endpoint_url="http://localhost:5000",
        redis_backend="self",
    )
    assert prod.target.model_dump() == {
        "region": "eu-west-1",
        "profile": "p",
        "role_arn": "arn:aws:iam::222222222222:role/platform",
        "external_id": "x",
        "endpoint_url": "http://localhost:5000",
    }
    assert settings.environment("mirror") == EnvironmentSettings(redis_iam=("chat-api", "iam-api"))
    assert settings.environment("dev") == EnvironmentSettings()


def test_the_clients_ask_where_and_as_whom_the_file_says(tmp_path: Path) -> None:
    """And an unknown environment has none."""
    settings = load_settings(write(tmp_path / "any.toml", FULL))
    assert settings.aws_for("prod").target == settings.environment("prod").target
    assert settings.aws_for("dev").target == AwsTarget()
    with pytest.raises(ConfigurationError, match="unknown environment"):
        settings.aws_for("staging")


def test_no_file_is_empty_settings() -> None:
    """The file is optional."""
    assert load_settings() == Settings()


def test_an_unknown_environment_is_refused() -> None:
    """Also by empty settings: a typo must not mean "any account"."""
    with pytest.raises(ConfigurationError, match="unknown environment 'prd'"):
        Settings().environment("prd")


def test_the_variable_names_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It wins over the working directory; an empty variable counts as unset."""
    write(Path("soa-db.toml"), '[environments.dev]\nregion = "here"\n')
    monkeypatch.setenv("SOA_DB_SETTINGS", str(write(tmp_path / "x.toml", '[environments.dev]\nregion = "there"\n')))
    assert load_settings().environment("dev").region == "there"
    monkeypatch.setenv("SOA_DB_SETTINGS", "")
    assert load_settings().environment("dev").region == "here"


def test_a_named_file_must_exist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """To fall back on nothing would switch the account check off."""
    with pytest.raises(ConfigurationError, match=r"no settings file .*gone\.toml"):
        load_settings(tmp_path / "gone.toml")
    monkeypatch.setenv("SOA_DB_SETTINGS", str(tmp_path / "gone.toml"))
    with pytest.raises(ConfigurationError, match="named by SOA_DB_SETTINGS"):
        load_settings()
    with pytest.raises(ConfigurationError, match="cannot read the settings file"):
        load_settings(tmp_path)


def test_parents_are_searched_up_to_the_repository_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And no further: a file above the repository is somebody else's."""
    outer = write(tmp_path / "soa-db.toml", "")
    deep = tmp_path / "repo" / "a" / "b"
    deep.mkdir(parents=True)
    monkeypatch.chdir(deep)
    assert load_settings().source is None, "outside a repository only the working directory counts"
    (tmp_path / "repo" / ".git").mkdir()
    assert load_settings().source is None
    inner = write(tmp_path / "repo" / "soa-db.toml", "")
    assert load_settings().source == inner
    nearest = write(tmp_path / "repo" / "a" / "soa-db.toml", "")
    assert load_settings().source == nearest
    assert outer.exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[environments.prod]\nacount = '1'", "environments.prod.acount: unknown key; did you mean 'account'?"),
        ("[environments.prod]\nzzz = '1'", "environments.prod.zzz: unknown key; known are account, region"),
        ("[environments.prd]", "environments.prd: unknown key; did you mean 'prod'?"),
        ("[enviroments.prod]", "enviroments: unknown key; did you mean 'environments'?"),
        ("[environments.prod]\naccount = 222222222222", "environments.prod.account: write it as text"),
        ("[environments.prod]\naccount = '2222'", "environments.prod.account: an AWS account id is 12 digits"),
        ("[environments.prod]\naccount = '２２２２２２２２２２２２'", "an AWS account id is 12 digits"),
        ("[environments.prod]\nregion = ''", "environments.prod.region: empty"),
        ("[environments.prod]\nprofile = ' a'", "environments.prod.profile: empty, or with blanks"),
        ('[environments.prod]\nprofile = "a\\u0000"', "control characters"),
        ("[environments.prod]\nredis = 'valkey'", "environments.prod.redis: Input should be 'elasticache' or 'self'"),
        ("[environments.prod]\nendpoint_url = 'localhost:5000'", "environments.prod.endpoint_url: not a URL"),
        ("[environments.prod]\nrole_arn = 'platform'", "environments.prod: role_arn is not the ARN"),
        (
            "[environments.prod]\naccount = '222222222222'\nrole_arn = 'arn:aws:iam::111111111111:role/x'",
            "role_arn is of account 111111111111, but account says 222222222222",
        ),
        ("[environments.prod]\nexternal_id = 'x'", "external_id is for a role_arn"),
        ("[environments.prod]\nredis_iam = 'chat-api'", "environments.prod.redis_iam: Input should be a valid"),
        ("[environments.prod]\nredis_iam = ['Chat']", "environments.prod.redis_iam: "),
        ("[environments.prod]\nredis_iam = ['a', 'b', 'a']", "environments.prod.redis_iam: a stands there twice"),
        ("[environments.prod]\nredis = 'self'\nredis_iam = ['a']", 'redis_iam is for ElastiCache, and redis is "self"'),
        ("[environments.dev]\nredis_iam = ['a']", "environments.dev: redis_iam is for ElastiCache, and in dev"),
        ("environments = 3", "environments: Input should be"),
        ("environments = [", "not valid TOML"),
    ],
)
def test_what_cannot_be_used_is_refused_with_file_and_key(tmp_path: Path, text: str, message: str) -> None:
    """Unknown keys too, with a suggestion: a misspelt ``account`` would switch the guard off."""
    path = write(tmp_path / "soa-db.toml", text)
    with pytest.raises(ConfigurationError) as caught:
        load_settings(path)
    assert str(caught.value).startswith(f"{path}:")
    assert message in str(caught.value)


def test_all_faults_come_at_once(tmp_path: Path) -> None:
    """One run shows everything there is to mend."""
    path = write(tmp_path / "s.toml", "[environments.dev]\nacount = '1'\nregion = ''")
    with pytest.raises(ConfigurationError) as caught:
        load_settings(path)
    assert "acount" in str(caught.value)
    assert "region" in str(caught.value)


def test_a_file_that_is_not_text_is_refused(tmp_path: Path) -> None:
    """TOML is UTF-8."""
    path = tmp_path / "s.toml"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigurationError, match="not UTF-8"):
        load_settings(path)


def test_the_right_account_passes(tmp_path: Path) -> None:
    """One question to AWS."""
    settings = load_settings(write(tmp_path / "s.toml", FULL))
    caller = Caller(Identity("222222222222", "arn:aws:sts::222222222222:assumed-role/platform/x"))
    settings.check_account(caller, "prod")
    assert caller.asked == 1


@pytest.mark.parametrize(
    ("extra", "way"),
    [
        ("", "AWS credentials"),
        ("profile = 'p'", "the profile"),
        ("role_arn = 'arn:aws:iam::222222222222:role/x'", "the role_arn"),
    ],
)
def test_a_foreign_account_is_refused_and_both_are_named(tmp_path: Path, extra: str, way: str) -> None:
    """With the next step."""
    path = write(tmp_path / "s.toml", f"[environments.prod]\naccount = '222222222222'\n{extra}\n")
    caller = Caller(Identity("111111111111", "arn:aws:iam::111111111111:user/me"))
    with pytest.raises(ConfigurationError) as caught:
        load_settings(path).check_account(caller, "prod")
    text = str(caught.value)
    assert "prod is AWS account 222222222222, but the caller is in account 111111111111" in text
    assert f"use {way} of account 222222222222" in text
    assert str(path) in text
    assert "arn:aws:iam::111111111111:user/me" in text


def test_without_an_expected_account_aws_is_not_asked() -> None:
    """Nothing to compare with."""
    caller = Caller(Identity("1", "x"))
    Settings().check_account(caller, "prod")
    assert caller.asked == 0
