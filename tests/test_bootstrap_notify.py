"""Channels by settings: what cannot work is refused at the start, in words, and without the secret."""

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from rollout.bootstrap import Plugins, controller
from rollout.clock import SystemClock
from rollout.core.errors import InvalidInput
from rollout.http import client
from rollout.ports import Notifier
from rollout.registry import load_plugins
from rollout.settings import load_settings

REPOSITORY = Path(__file__).parents[1]
URL = "https://hooks.test/t0ken"
SECRET = "whsec_" + base64.b64encode(b"a secret for notices of 32 bytes").decode()


@contextmanager
def refused(why: str) -> Iterator[None]:
    with pytest.raises(InvalidInput, match=why) as said:
        yield
    assert "t0ken" not in str(said.value)
    assert SECRET not in str(said.value)


async def channels(tmp_path: Path, **settings: object) -> list[str]:
    load_plugins()
    async with client() as http:
        made = Plugins(load_settings(data=tmp_path, **settings), SystemClock(), http).channels()
    assert all(hasattr(one, "send") for one in made.values())
    found: dict[str, Notifier] = dict(made)
    return list(found)


async def test_without_a_url_there_is_the_log_alone(tmp_path: Path) -> None:
    assert await channels(tmp_path) == []
    assert await channels(tmp_path, notify_secret=SECRET) == []


async def test_a_url_with_a_secret_in_a_file_makes_the_webhook(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(f"{SECRET}\n")
    assert await channels(tmp_path, notify_url=URL, notify_secret_file=tmp_path / "secret") == ["webhook"]


async def test_the_secret_of_the_environment_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROLLOUT_NOTIFY_SECRET", SECRET)
    monkeypatch.setenv("ROLLOUT_NOTIFY_URL", URL)
    assert await channels(tmp_path, notify_secret_file=tmp_path / "missing") == ["webhook"]


async def test_a_url_without_a_secret_is_refused(tmp_path: Path) -> None:
    with refused("nothing signs what is posted there. Set ROLLOUT_NOTIFY_SECRET_FILE"):
        await channels(tmp_path, notify_url=URL)


@pytest.mark.parametrize("url", ["hooks.test/t0ken", "ftp://x/t0ken", "https://u:t0ken@x/", "https://"])
async def test_what_is_no_url_to_post_to_is_refused(tmp_path: Path, url: str) -> None:
    with refused("ROLLOUT_NOTIFY_URL holds no URL that can be posted to"):
        await channels(tmp_path, notify_url=url, notify_secret=SECRET)


async def test_a_secret_that_cannot_be_used_stops_the_start_and_not_the_first_page_at_night(
    tmp_path: Path,
) -> None:
    file = tmp_path / "secret"
    file.write_text("too short")
    settings = load_settings(
        config=REPOSITORY, data=tmp_path / "var", notify_url=URL, notify_secret_file=file
    )
    with refused("2 secrets|cannot be used"):
        async with controller(settings):
            pass


def test_neither_the_url_nor_the_secret_is_shown_by_the_settings(tmp_path: Path) -> None:
    settings = load_settings(data=tmp_path, notify_url=URL, notify_secret=SECRET)
    assert "t0ken" not in repr(settings)
    assert SECRET not in repr(settings)
