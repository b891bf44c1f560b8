"""Settings come from flags, the environment and defaults, in this order."""

import os
import re
from pathlib import Path

import pytest

from rollout.core.errors import InvalidInput
from rollout.settings import Settings, default_directory, load_settings

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith("ROLLOUT_"):
            monkeypatch.delenv(name)


def problems(**flags: object) -> list[str]:
    with pytest.raises(InvalidInput) as caught:
        load_settings(**flags)
    return [str(problem) for problem in caught.value.problems]


def test_defaults_need_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = load_settings()
    assert (found.host, found.port, found.tick_s, found.collect_s) == ("127.0.0.1", 8080, 1.0, 10.0)
    assert found.samples_keep_s == 86400
    assert found.data == tmp_path / "var"
    assert found.database_url == f"sqlite:///{tmp_path}/var/rollout.db"
    assert found.public_url == "http://127.0.0.1:8080"
    assert found.bearer_token() is None


def test_the_environment_is_read_and_a_flag_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROLLOUT_PORT", "9000")
    monkeypatch.setenv("ROLLOUT_LOG_FORMAT", "json")
    found = load_settings(port=9001, log_format=None)
    assert (found.port, found.log_format) == (9001, "json")


def test_an_empty_variable_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROLLOUT_PORT", "")
    assert load_settings().port == 8080


def test_the_database_follows_the_data_directory(tmp_path: Path) -> None:
    assert load_settings(data=tmp_path).database_url == f"sqlite:///{tmp_path}/rollout.db"
    assert load_settings(database_url="postgresql://db/x").database_url == "postgresql://db/x"


def test_the_url_of_the_database_may_be_in_a_file_which_must_hold_one(tmp_path: Path) -> None:
    file = tmp_path / "url"
    with pytest.raises(InvalidInput, match=r"ROLLOUT_DATABASE_URL_FILE, .*url, cannot be read"):
        load_settings(database_url_file=file)
    file.write_text("\n")
    with pytest.raises(InvalidInput, match=r"is empty; write postgresql"):
        load_settings(database_url_file=file)
    file.write_text("postgresql://u:p@db/x\n")
    assert load_settings(database_url_file=file).database_url == "postgresql://u:p@db/x"
    assert load_settings(database_url_file=file, database_url="sqlite:////a").database_url == "sqlite:////a"


def test_the_configuration_is_here_when_here_has_regions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert (default_directory() / "regions.yaml").is_file()
    assert default_directory() != tmp_path
    (tmp_path / "regions.yaml").touch()
    assert default_directory() == tmp_path


def test_a_relative_directory_is_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ROLLOUT_CONFIG", "mine")
    assert load_settings(data="there").config == tmp_path / "mine"
    assert load_settings(data="there").data == tmp_path / "there"


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.1.2.3", "example.com", "127.0.0.1.example.com"])
def test_a_host_that_others_reach_is_refused(host: str) -> None:
    assert problems(host=host) == [f"ROLLOUT_HOST: '{host}' is not an address of this machine alone"]
    assert load_settings(host=host, allow_remote=True).host == host


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_an_address_of_this_machine_is_permitted(host: str) -> None:
    assert load_settings(host=host).host == host


def test_every_wrong_setting_is_named_by_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROLLOUT_PORT", "http")
    monkeypatch.setenv("ROLLOUT_TICK_S", "nan")
    monkeypatch.setenv("ROLLOUT_LOG_FORMAT", "xml")
    monkeypatch.setenv("ROLLOUT_URL", "ftp://x")
    assert problems() == [
        "ROLLOUT_PORT: must be a whole number, and is 'http'",
        "ROLLOUT_URL: 'ftp://x' is not a URL such as https://rollout.example",
        "ROLLOUT_TICK_S: must be a finite number, and is 'nan'",
        "ROLLOUT_LOG_FORMAT: must be 'auto', 'json' or 'pretty', and is 'xml'",
    ]


def test_a_token_is_never_shown() -> None:
    found = load_settings(token="s3cret", database_url="postgresql://u:hidden@db/x")
    assert "s3cret" not in repr(found)
    assert "hidden" not in repr(found)
    assert found.bearer_token() == "s3cret"


def test_a_token_file_is_read_without_its_line_end(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("abc\n")
    assert load_settings(token_file=tmp_path / "token").bearer_token() == "abc"


def test_a_token_file_that_is_missing_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"cannot be read: .*Mend it, or set ROLLOUT_TOKEN"):
        load_settings(token_file=tmp_path / "none").bearer_token()


def test_a_public_url_has_no_slash_at_its_end() -> None:
    assert load_settings(url="https://rollout.example/").public_url == "https://rollout.example"
    assert load_settings(host="::1").public_url == "http://[::1]:8080"


def test_every_setting_has_a_description_and_a_row_in_the_docs() -> None:
    text = (ROOT / "docs/settings.md").read_text()
    found = re.findall(r"^\| `(ROLLOUT_\w+)` \| (.+) \| (?:[^|]+) \|$", text, re.MULTILINE)
    rows = {name: said.replace("`", "") for name, said in found}
    described = {
        f"ROLLOUT_{name.upper()}": (field.description or "").split(";")[0].rstrip(".")
        for name, field in Settings.model_fields.items()
    }
    assert set(rows) == set(described)
    assert all(len(text) > 10 for text in described.values())
    assert [name for name, text in described.items() if not rows[name].startswith(text)] == []
