"""What every notifier keeps to, whichever it is: `log`, `webhook`, and the fake that stands for them."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from notifier_lab import SECRET, notifier_of, receiving
from webhook_lab import answer_bytes

from rollout import http as web
from rollout.core.errors import InvalidInput, TransientError
from rollout.ports import Notice, Notifier
from rollout.registry import NOTIFIERS, load_plugins
from rollout.testing import ManualClock, RecordingNotifier

NOW = datetime(2026, 3, 2, 10, 0, tzinfo=UTC)
NOTICE = Notice(
    key="ro_1/3/0",
    rollout_id="ro_1",
    service="mail",
    text="R3 is going back: 4 × 1.1.0 „zu viele Fehler“.\nSee the report.",
    urgent=True,
    link="https://rollout.example/r/ro_1",
)
SHIPPED = ("log", "webhook")


@dataclass(frozen=True)
class Lab:
    """A notifier, the texts by key that it delivered in order, and a switch that makes the next try fail."""

    notifier: Notifier
    delivered: Callable[[], list[tuple[str, str]]]
    break_next: Callable[[], None]
    mend: Callable[[], None]


async def webhook_lab(stack: AsyncExitStack, place: Path) -> Lab:
    http = await stack.enter_async_context(web.client())
    receiver = await stack.enter_async_context(receiving())
    (place / "secret").write_text(SECRET)
    options = {"url": receiver.url + "/hook", "secret_file": "secret"}
    made = notifier_of("webhook", place, ManualClock(NOW), http, **options)
    broken = answer_bytes(503, b"not now")

    def delivered() -> list[tuple[str, str]]:
        return [(one["key"], one["text"]) for one in receiver.told()[tried[0] :]]

    tried = [0]

    def break_next() -> None:
        receiver.answers.append(broken)
        tried[0] = 1

    return Lab(made, delivered, break_next, lambda: None)


def log_lab(place: Path) -> Lab:
    directory = place / "there"
    directory.mkdir()
    file = directory / "notices.jsonl"

    def delivered() -> list[tuple[str, str]]:
        lines = [json.loads(line) for line in file.read_text("utf-8").splitlines()]
        return [(line["key"], line["text"]) for line in lines]

    away = place / "away"
    made = notifier_of("log", place, ManualClock(NOW), file="there/notices.jsonl")
    return Lab(made, delivered, lambda: void(directory.rename(away)), lambda: void(away.rename(directory)))


def void(_: object) -> None:
    """What a step returns is of no interest."""


def fake_lab() -> Lab:
    fake = RecordingNotifier()

    def set_error(error: TransientError | None) -> None:
        fake.error = error

    return Lab(
        fake,
        lambda: [(notice.key, notice.text) for notice in fake.notices],
        lambda: set_error(TransientError("not now")),
        lambda: set_error(None),
    )


@pytest.fixture(params=["log", "fake", pytest.param("webhook", marks=pytest.mark.real)])
async def lab(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Lab]:
    async with AsyncExitStack() as stack:
        if request.param == "webhook":
            yield await webhook_lab(stack, tmp_path)
        else:
            yield log_lab(tmp_path) if request.param == "log" else fake_lab()


async def test_a_notice_is_delivered_before_send_returns_word_for_word(lab: Lab) -> None:
    await lab.notifier.send(NOTICE)
    assert lab.delivered() == [(NOTICE.key, NOTICE.text)]


async def test_the_same_notice_may_come_twice_under_the_same_key(lab: Lab) -> None:
    await lab.notifier.send(NOTICE)
    await lab.notifier.send(NOTICE)
    assert set(lab.delivered()) == {(NOTICE.key, NOTICE.text)}


async def test_notices_of_different_keys_are_all_delivered(lab: Lab) -> None:
    for number in range(20):
        await lab.notifier.send(replace(NOTICE, key=f"ro_1/{number}/0", urgent=number % 2 == 0))
    assert [key for key, _ in lab.delivered()] == [f"ro_1/{number}/0" for number in range(20)]


async def test_what_could_not_be_delivered_is_worth_another_try_and_then_there_once(lab: Lab) -> None:
    lab.break_next()
    with pytest.raises(TransientError):
        await lab.notifier.send(NOTICE)
    lab.mend()
    await lab.notifier.send(NOTICE)
    assert lab.delivered() == [(NOTICE.key, NOTICE.text)]


@pytest.mark.parametrize("kind", SHIPPED)
def test_an_option_that_nobody_knows_is_refused_by_name(kind: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="colour"):
        notifier_of(kind, tmp_path, ManualClock(NOW), colour="red")


def test_every_notifier_that_ships_is_in_the_contract_and_in_the_manual() -> None:
    load_plugins()
    assert set(SHIPPED) <= set(NOTIFIERS.kinds)
    text = (Path(__file__).parents[2] / "docs" / "notifiers.md").read_text("utf-8")
    assert [kind for kind in SHIPPED if f"`{kind}`" not in text] == []
