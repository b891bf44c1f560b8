"""The notifier `webhook` against a real receiver on loopback that answers in every way we know of."""

import gzip
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from notifier_lab import OTHER, SECRET, Receiver, notifier_of, receiving
from standardwebhooks.webhooks import Webhook, WebhookVerificationError
from test_notifier_contract import NOTICE, NOW
from webhook_lab import answer_bytes

from rollout import http as web
from rollout.clock import SystemClock
from rollout.core.errors import InvalidInput, PermanentError, TransientError
from rollout.ports import Notifier
from rollout.testing import ManualClock

pytestmark = pytest.mark.real
PATH = "/hook/t0ken"
Make = Callable[..., Notifier]


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as found:
        yield found


@pytest.fixture
async def make(receiver: Receiver, tmp_path: Path) -> AsyncIterator[Make]:
    (tmp_path / "secret").write_text(SECRET)
    async with web.client() as http:

        def made(**options: Any) -> Notifier:
            written = {"url": receiver.url + PATH, "secret_file": "secret"} | options
            return notifier_of("webhook", tmp_path, SystemClock(), http, **written)

        yield made


async def test_a_notice_says_everything_that_the_manual_names(receiver: Receiver, make: Make) -> None:
    at = NOW + timedelta(microseconds=250)
    await make().send(replace(NOTICE, at=at))
    (asked,) = receiver.asked
    assert (asked.method, asked.path) == ("POST", PATH)
    assert json.loads(asked.body) == {
        "type": "notice",
        "timestamp": "2026-03-02T10:00:00.000250+00:00",
        "data": {
            "key": "ro_1/3/0",
            "rollout_id": "ro_1",
            "service": "mail",
            "text": NOTICE.text,
            "urgent": True,
            "link": "https://rollout.example/r/ro_1",
        },
    }
    assert asked.headers["content-type"] == "application/json"
    assert asked.headers["webhook-id"] == asked.headers["idempotency-key"] == "ro_1/3/0"


async def test_it_is_signed_by_us_now_and_a_changed_letter_is_found(receiver: Receiver, make: Make) -> None:
    await make().send(NOTICE)
    (asked,) = receiver.asked
    Webhook(SECRET).verify(asked.body, asked.headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(SECRET).verify(asked.body.replace("mail", "male"), asked.headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(OTHER).verify(asked.body, asked.headers)


async def test_during_a_rotation_it_is_signed_by_both_secrets_and_read_anew_each_time(
    receiver: Receiver, make: Make, tmp_path: Path
) -> None:
    notifier = make()
    await notifier.send(NOTICE)
    (tmp_path / "secret").write_text(f"{OTHER}\n{SECRET}\n")
    await notifier.send(NOTICE)
    for secret in (SECRET, OTHER):
        Webhook(secret).verify(receiver.asked[1].body, receiver.asked[1].headers)
    assert receiver.asked[0].body == receiver.asked[1].body, "each try says the same"


@pytest.mark.parametrize("code", [200, 201, 202, 204, 299])
async def test_any_2xx_says_that_it_was_delivered(receiver: Receiver, make: Make, code: int) -> None:
    receiver.answers.append(answer_bytes(code, b"not even JSON"))
    await make().send(NOTICE)
    assert len(receiver.asked) == 1


@pytest.mark.parametrize("code", [400, 401, 403, 404, 409, 418, 422, 429, 500, 502, 503, 599])
async def test_any_other_answer_is_tried_again(receiver: Receiver, make: Make, code: int) -> None:
    receiver.answers.append(answer_bytes(code, {"message": "not today\x1b[31m"}))
    with pytest.raises(TransientError, match=rf"answers {code}: not today \[31m\.") as said:
        await make().send(NOTICE)
    assert PATH not in str(said.value)
    assert receiver.url in str(said.value)


async def test_410_is_for_good_and_says_what_to_do(receiver: Receiver, make: Make) -> None:
    receiver.answers.append(answer_bytes(410, b"we have moved"))
    with pytest.raises(PermanentError, match=r"answers 410: we have moved.*ROLLOUT_NOTIFY_URL") as said:
        await make().send(NOTICE)
    assert PATH not in str(said.value)


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
async def test_no_redirect_is_followed(receiver: Receiver, make: Make, code: int) -> None:
    async with receiving() as inside:
        receiver.answers.append(answer_bytes(code, location=f"{inside.url}/latest/meta-data"))
        with pytest.raises(
            TransientError, match=rf"redirects \({code}\) to 127\.0\.0\.1.*ROLLOUT_NOTIFY_URL"
        ):
            await make().send(NOTICE)
        assert inside.asked == []


async def test_a_receiver_that_says_nothing_takes_no_longer_than_its_time(
    receiver: Receiver, make: Make
) -> None:
    receiver.answers.append(None)
    with pytest.raises(TransientError, match=r"did not answer within 0\.2 s"):
        await make(timeout_s=0.2).send(NOTICE)


@pytest.mark.parametrize("code", [200, 500])
async def test_of_a_huge_answer_little_is_read(receiver: Receiver, make: Make, code: int) -> None:
    receiver.answers.append(answer_bytes(code, b"x" * 50_000_000))
    if code == 200:
        await make().send(NOTICE)
    else:
        with pytest.raises(TransientError, match=r"answers 500: x{300}") as said:
            await make().send(NOTICE)
        assert len(str(said.value)) < 500
    assert receiver.sent < 20_000_000, "what the sockets hold, and no more"


async def test_a_packed_refusal_is_not_unpacked(receiver: Receiver, make: Make) -> None:
    bomb = gzip.compress(b"0" * 10_000_000)
    receiver.answers.append(answer_bytes(503, bomb, content_encoding="gzip"))
    with pytest.raises(TransientError, match=r"answers 503\. It is told again"):
        await make().send(NOTICE)


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 200 OK\r\nContent-Le", b"\x00\x01 nonsense\r\n\r\n"])
async def test_an_answer_that_breaks_off_is_tried_again(
    receiver: Receiver, make: Make, answer: bytes
) -> None:
    receiver.answers.append(answer)
    with pytest.raises(TransientError, match="broke off its answer"):
        await make().send(NOTICE)


async def test_nobody_listening_is_tried_again(make: Make) -> None:
    async with receiving() as gone:
        url = gone.url
    with pytest.raises(TransientError, match=r"cannot be reached"):
        await make(url=url).send(NOTICE)


@pytest.mark.parametrize("held", ["", "whsec_dG9vIHNob3J0", "plain text", f"{SECRET} {OTHER} {SECRET}"])
async def test_a_secret_that_cannot_be_used_is_never_shown_and_nothing_is_sent(
    receiver: Receiver, make: Make, tmp_path: Path, held: str
) -> None:
    (tmp_path / "secret").write_text(held)
    with pytest.raises(TransientError, match="secret") as said:
        await make().send(NOTICE)
    assert receiver.asked == []
    assert not any(part in str(said.value) for part in held.split())


async def test_the_secret_may_be_in_the_environment(
    receiver: Receiver, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("THE_SECRET", OTHER)
    await make(secret_file=None, secret_env="THE_SECRET").send(NOTICE)
    Webhook(OTHER).verify(receiver.asked[0].body, receiver.asked[0].headers)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"url": "ftp://x/y"}, "must be an address that begins with http"),
        ({"url": "https://user:pass@x/y"}, "must not hold a password"),
        ({"url": "https:///y"}, "must be an address"),
        ({"secret_file": None}, "needs one of secret_file and secret_env"),
        ({"secret_env": "X"}, "needs one of secret_file and secret_env"),
        ({"timeout_s": 26}, "25"),
    ],
)
def test_options_that_cannot_work_are_refused(tmp_path: Path, options: dict[str, Any], why: str) -> None:
    written = {"url": "https://hooks.test/x", "secret_file": "secret"} | options
    with pytest.raises(InvalidInput, match=why):
        notifier_of("webhook", tmp_path, ManualClock(NOW), **written)


async def test_the_example_of_the_manual_has_the_fields_that_are_sent(receiver: Receiver, make: Make) -> None:
    manual = (Path(__file__).parents[2] / "docs" / "notifiers.md").read_text("utf-8")
    shown = json.loads(manual.partition("```json notice\n")[2].partition("```")[0])
    await make().send(replace(NOTICE, at=NOW))
    sent = json.loads(receiver.asked[0].body)
    assert (list(shown), list(shown["data"])) == (list(sent), list(sent["data"]))
    assert shown["type"] == sent["type"]
    assert shown["timestamp"] == sent["timestamp"]
