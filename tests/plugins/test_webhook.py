"""The deployer `webhook` against a real target on loopback that misbehaves in every way we know of."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks.webhooks import Webhook
from webhook_lab import OTHER, SECRET, Target, answer_bytes, listening, webhook_deployer

from rollout import http as web
from rollout.clock import SystemClock
from rollout.core.actions import Action
from rollout.core.errors import InvalidInput, PermanentError, TransientError
from rollout.core.model import Kind
from rollout.deployers.webhook import WebhookDeployer
from rollout.ports import Progress, Reply
from rollout.registry import DEPLOYERS, Surroundings
from rollout.testing import FakeDeployer, ManualClock

pytestmark = pytest.mark.real
NOW = datetime(2026, 3, 2, 10, 0, tzinfo=UTC)
KEY = "ro_01/7/0"
OK = {"status": "succeeded", "running_version": "1.1.0"}
Make = Callable[..., WebhookDeployer]
ORDERS = (Kind.DEPLOY, Kind.RESTORE, Kind.RESUME_WORK)


@pytest.fixture
async def target() -> AsyncIterator[Target]:
    fake = FakeDeployer(ManualClock(NOW), "R3", size=4)
    fake.install("mail", "1.0.0")
    fake.stall("mail", {"1": 400.0, "2": 400.0})
    async with listening(Target(fake)) as found:
        yield found


@pytest.fixture
async def make(target: Target, tmp_path: Path) -> AsyncIterator[Make]:
    async with web.client() as http:
        yield lambda **options: webhook_deployer(target, http, tmp_path, **options)


def order(kind: Kind = Kind.DEPLOY, **changes: Any) -> Action:
    written: dict[str, Any] = {
        "region": "R3",
        "service": "mail",
        "version": "1.1.0",
        "from_version": "1.0.0",
        "weight": 50,
        "generation": 3,
    }
    if kind is Kind.RESUME_WORK:
        written["details"] = {"items": [{"id": "1", "age_s": 400.0}, {"id": "2", "age_s": 400.0}]}
    return Action(kind=kind, **(written | changes))


async def until_done(deployer: WebhookDeployer, action: Action, key: str = KEY, times: int = 20) -> Reply:
    """Ask again under the same key until it has ended, as the controller does."""
    for _ in range(times):
        try:
            reply = await deployer.apply(key, action)
        except TransientError:
            continue
        if reply.progress is not Progress.RUNNING:
            return reply
    raise AssertionError(f"not done after {times} times")


# --------------------------------------------------------------------------- what is sent


async def test_an_order_says_everything_that_the_contract_names(target: Target, make: Make) -> None:
    await make(fences=True).apply(KEY, order(artifact="sha256:ab"))
    (sent,) = target.orders()
    assert sent.path == "/R3/mail"
    assert sent.order == {
        "action_id": KEY,
        "generation": 3,
        "action": "deploy",
        "rollout_id": "ro_01",
        "service": "mail",
        "region": "R3",
        "version": "1.1.0",
        "artifact": "sha256:ab",
        "weight": 50,
        "from_version": "1.0.0",
        "details": {},
    }
    assert sent.headers["idempotency-key"] == sent.headers["webhook-id"] == KEY
    assert sent.headers["content-type"] == "application/json"


async def test_items_of_work_travel_with_a_key_each(target: Target, make: Make) -> None:
    await make().apply(KEY, order(Kind.RESUME_WORK))
    assert target.orders()[0].order["details"]["items"] == [
        {"id": "1", "key": f"{KEY}/1"},
        {"id": "2", "key": f"{KEY}/2"},
    ]


async def test_a_service_cannot_lead_the_address_elsewhere(target: Target, make: Make) -> None:
    await make(fences=True).apply(KEY, order(service="../x?y#z"))
    assert target.orders()[0].path == "/R3/..%2Fx%3Fy%23z"


async def test_every_request_is_signed_as_standard_webhooks_says(target: Target, make: Make) -> None:
    target.later = 1
    await until_done(make(), order())
    assert {"POST", "GET"} == {one.method for one in target.asked}
    assert target.refused == []


async def test_during_a_rotation_the_old_and_the_new_secret_are_accepted(
    target: Target, make: Make, tmp_path: Path
) -> None:
    deployer = make(fences=True)
    (tmp_path / "secret").write_text(f"{OTHER}\n{SECRET}\n")
    await deployer.apply(KEY, order())
    target.secret = OTHER
    await deployer.apply("ro_01/8/0", order(generation=4))
    assert target.refused == []


async def test_a_wrong_secret_is_said_without_showing_it(
    target: Target, make: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    target.secret = OTHER
    with pytest.raises(TransientError, match=r"answers 401.*compare the secrets and clocks") as told:
        await make(fences=True).apply(KEY, order())
    assert SECRET[6:] not in str(told.value) + caplog.text


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "cannot be read: No such file"),
        (b"", "holds 0 secrets"),
        (f"{SECRET} {OTHER} {SECRET}".encode(), "holds 3 secrets"),
        (b"whsec_c2hvcnQ=", "base64 of 24 to 64 bytes"),
        (b"hunter2-hunter2-hunter2-hunter2-hunter2", "whsec_ and the base64"),
        (b"\xff\xfe", "it is no text"),
    ],
)
async def test_a_secret_that_cannot_be_used_is_named_by_its_place_only(
    target: Target, make: Make, tmp_path: Path, content: bytes | None, words: str
) -> None:
    deployer = make()
    (tmp_path / "secret").unlink() if content is None else (tmp_path / "secret").write_bytes(content)
    with pytest.raises(TransientError, match=words) as told:
        await deployer.apply(KEY, order())
    assert "secret" in str(told.value)
    assert "hunter2" not in str(told.value)
    assert target.asked == []


async def test_a_secret_may_come_from_the_environment(
    target: Target, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("R3_SECRET", SECRET)
    await make(fences=True, secret_file=None, secret_env="R3_SECRET").apply(KEY, order())
    assert target.refused == []


# --------------------------------------------------------------------------- lost, hanging, double


@pytest.mark.parametrize("kind", ORDERS)
@pytest.mark.parametrize("fault", ["lose", "hang", "deaf", "half", "twice"])
@pytest.mark.parametrize("fences", [True, False])
async def test_an_answer_that_is_lost_late_or_double_leaves_one_effect(
    target: Target, make: Make, kind: Kind, fault: str, fences: bool
) -> None:
    target.faults.append(fault)
    deployer = make(fences=fences, timeout_s=0.2) if fault in {"hang", "deaf"} else make(fences=fences)
    reply = await until_done(deployer, order(kind))
    assert reply.progress is Progress.SUCCEEDED
    assert len(target.fake.effects) == 1
    assert {one.headers["idempotency-key"] for one in target.orders()} == {KEY}
    assert "second answer" not in reply.result.message


async def test_a_second_answer_is_never_taken_for_that_of_the_next_order(target: Target, make: Make) -> None:
    deployer = make(fences=True)
    target.faults.append("twice")
    await deployer.apply(KEY, order())
    after = await deployer.apply("ro_01/8/0", order(Kind.RESTORE, version="1.0.0", generation=4))
    assert after.progress is Progress.SUCCEEDED


async def test_after_a_restart_of_the_controller_the_order_is_given_again_with_the_same_key(
    target: Target, make: Make
) -> None:
    target.later = 2
    assert (await make(fences=True).apply(KEY, order())).progress is Progress.RUNNING
    reply = await until_done(make(fences=True), order())
    assert reply.progress is Progress.SUCCEEDED
    assert [one.headers["idempotency-key"] for one in target.orders()] == [KEY, KEY]
    assert len(target.fake.effects) == 1


async def test_a_way_back_is_ordered_whatever_is_read_since_a_deploy_may_be_under_way(
    target: Target, make: Make
) -> None:
    reply = await make().apply(KEY, order(Kind.RESTORE, version="1.0.0", weight=100))
    assert reply.result.message == "restore done"


async def test_a_target_that_does_not_fence_and_runs_what_is_ordered_is_not_asked_again(
    target: Target, make: Make
) -> None:
    reply = await make().apply(KEY, order(version="1.0.0", weight=100))
    assert reply.progress is Progress.SUCCEEDED
    assert "runs what was ordered already: 4 × 1.0.0" in reply.result.message
    assert target.orders() == []


async def test_a_share_is_compared_only_where_the_target_states_it(target: Target, make: Make) -> None:
    await make().apply(KEY, order(weight=50))
    await make().apply("ro_01/8/0", order(weight=50))
    assert len(target.orders()) == 2
    target.states_weight = True
    await make().apply("ro_01/9/0", order(weight=50))
    assert len(target.orders()) == 2
    await make().apply("ro_01/9/1", order(weight=75))
    assert len(target.orders()) == 3


async def test_a_lost_answer_of_a_target_without_memory_is_found_by_reading_back(
    target: Target, make: Make
) -> None:
    target.states_weight = True
    target.faults.append("lose")
    reply = await until_done(make(), order())
    assert reply.result.details["already"] is True
    assert len(target.orders()) == 1


async def test_a_way_back_does_not_wait_for_a_target_that_cannot_be_read(target: Target, make: Make) -> None:
    target.readings.extend([answer_bytes(500), answer_bytes(500)])
    with pytest.raises(TransientError, match="answers 500"):
        await make().apply(KEY, order())
    assert target.orders() == []
    reply = await make().apply(KEY, order(Kind.RESTORE, version="1.1.0"))
    assert reply.progress is Progress.SUCCEEDED


# --------------------------------------------------------------------------- asking on


async def test_202_with_a_location_is_asked_on_there_until_it_ends(target: Target, make: Make) -> None:
    target.later = 2
    deployer = make(fences=True)
    said = [(await deployer.apply(KEY, order())).progress for _ in range(4)]
    assert said == [Progress.RUNNING, Progress.RUNNING, Progress.RUNNING, Progress.SUCCEEDED]
    assert len(target.orders("POST")) == 1
    assert {one.path for one in target.orders("GET")} == {f"/orders?key={KEY}"}


async def test_a_target_that_forgot_an_order_is_given_it_again(target: Target, make: Make) -> None:
    target.later = 1
    deployer = make(fences=True)
    await deployer.apply(KEY, order())
    target.forget()
    with pytest.raises(TransientError, match=r"answers 404: no such order. The order is given again"):
        await deployer.apply(KEY, order())
    assert (await until_done(deployer, order())).progress is Progress.SUCCEEDED
    assert len(target.fake.effects) == 1


async def test_running_without_a_location_is_asked_by_the_order_again(target: Target, make: Make) -> None:
    target.faults.append(answer_bytes(200, {"status": "running", "message": "2 of 4"}))
    target.faults.append(answer_bytes(202))
    deployer = make(fences=True)
    first, second = await deployer.apply(KEY, order()), await deployer.apply(KEY, order())
    assert (first.progress, first.result.message) == (Progress.RUNNING, "2 of 4")
    assert second.progress is Progress.RUNNING
    assert (await deployer.apply(KEY, order())).progress is Progress.SUCCEEDED


@pytest.mark.parametrize("place", ["http://elsewhere.test/x", "//elsewhere.test/x", "https://127.0.0.1/x"])
async def test_a_location_elsewhere_is_not_asked(target: Target, make: Make, place: str) -> None:
    target.faults.append(answer_bytes(202, {"status": "running"}, location=place))
    with pytest.raises(PermanentError, match=r"names a Location on .*; only its own address is asked"):
        await make(fences=True).apply(KEY, order())


# --------------------------------------------------------------------------- refusals


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
async def test_a_redirect_is_not_followed_and_names_only_the_host(
    target: Target, make: Make, code: int
) -> None:
    target.faults.append(answer_bytes(code, location="https://elsewhere.test/?token=hush"))
    with pytest.raises(PermanentError, match=rf"redirects \({code}\) to elsewhere.test") as told:
        await make(fences=True).apply(KEY, order())
    assert "hush" not in str(told.value)
    assert len(target.orders()) == 1


@pytest.mark.parametrize("code", [400, 404, 405, 409, 410, 413, 422])
async def test_a_refusal_is_permanent_and_gives_its_reason(target: Target, make: Make, code: int) -> None:
    target.faults.append(answer_bytes(code, {"status": "failed", "message": "generation 2 is old"}))
    with pytest.raises(PermanentError, match=rf"answers {code}: generation 2 is old"):
        await make(fences=True).apply(KEY, order())


@pytest.mark.parametrize("code", [401, 403, 408, 425, 429, 500, 502, 503, 504])
async def test_what_may_pass_is_asked_again(target: Target, make: Make, code: int) -> None:
    target.faults.append(answer_bytes(code, b"<html>\nbusy"))
    deployer = make(fences=True)
    with pytest.raises(TransientError, match=rf"answers {code}: <html> busy"):
        await deployer.apply(KEY, order())
    assert (await deployer.apply(KEY, order())).progress is Progress.SUCCEEDED


async def test_nobody_who_listens_is_asked_again(target: Target, make: Make) -> None:
    with pytest.raises(TransientError, match="cannot be reached"):
        await make(fences=True, url="http://127.0.0.1:1/").apply(KEY, order())


async def test_failed_is_permanent_with_the_words_of_the_target(target: Target, make: Make) -> None:
    target.faults.append(
        answer_bytes(200, {"status": "failed", "message": "no such image", "details": {"a": 1}})
    )
    reply = await make(fences=True).apply(KEY, order())
    assert (reply.progress, reply.result.message) == (Progress.FAILED, "no such image")
    assert reply.result.details == {"a": 1}


async def test_what_is_not_offered_is_refused_without_a_request(target: Target, make: Make) -> None:
    with pytest.raises(PermanentError, match="offers no 'rehearse'; it offers: deploy, restore, verify"):
        await make(supports=["deploy", "restore", "verify"]).apply(KEY, order(Kind.REHEARSE))
    assert target.asked == []


# --------------------------------------------------------------------------- Retry-After


@pytest.fixture
async def waiting(target: Target, tmp_path: Path) -> AsyncIterator[tuple[WebhookDeployer, ManualClock]]:
    """A deployer by a clock that a test moves; the target is not asked to check timestamps."""
    clock = ManualClock(SystemClock().now())
    async with web.client() as http:
        around = Surroundings(region="R3", http=http, clock=clock, directory=tmp_path)
        (tmp_path / "secret").write_text(SECRET)
        options = {"url": target.url, "secret_file": "secret", "fences": True}
        made = DEPLOYERS.build("webhook", options, around)
        assert isinstance(made, WebhookDeployer)
        yield made, clock


@pytest.mark.parametrize("by_date", [False, True])
async def test_a_target_that_asks_for_time_is_left_alone_so_long(
    target: Target, waiting: tuple[WebhookDeployer, ManualClock], by_date: bool
) -> None:
    deployer, clock = waiting
    at = format_datetime(clock.now() + timedelta(seconds=60), usegmt=True)
    target.faults.append(answer_bytes(429, Retry_After=at if by_date else "60"))
    with pytest.raises(TransientError, match=r"answers 429. It asks to wait (59|60) s"):
        await deployer.apply(KEY, order())
    clock.advance(50)
    with pytest.raises(TransientError, match=r"asked to be left alone for (9|10) s more"):
        await deployer.apply(KEY, order())
    assert len(target.asked) == 1
    clock.advance(11)
    assert (await deployer.apply(KEY, order())).progress is Progress.SUCCEEDED


async def test_a_way_back_waits_five_seconds_at_most(
    target: Target, waiting: tuple[WebhookDeployer, ManualClock]
) -> None:
    deployer, clock = waiting
    target.faults.append(answer_bytes(503, Retry_After="3600"))
    with pytest.raises(TransientError, match="asks to wait 300 s"):
        await deployer.apply(KEY, order())
    clock.advance(5)
    assert (await deployer.apply("r", order(Kind.RESTORE))).progress is Progress.SUCCEEDED


@pytest.mark.parametrize("written", ["soon", "-5", "nan", "Tue, 99 Foo"])
async def test_a_time_that_is_none_is_not_waited_for(target: Target, make: Make, written: str) -> None:
    target.faults.append(answer_bytes(429, Retry_After=written))
    deployer = make(fences=True)
    with pytest.raises(TransientError, match=r"answers 429. It is asked again"):
        await deployer.apply(KEY, order())
    assert (await deployer.apply(KEY, order())).progress is Progress.SUCCEEDED


# --------------------------------------------------------------------------- answers that cannot be believed


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is no JSON: nothing"),
        (b"<html>\x00 maintenance", "is no JSON: '<html>  maintenance'"),
        (b'{"status": "succee', "is no JSON"),
        (b'{"status": "succeeded", "details": {"x": NaN}}', "is no JSON"),
        (b'{"status": "succeeded", "message": "\\ud800"}', "is no JSON"),
        (b"\xff\xfe", "is no JSON"),
        (b"[" * 200_000, "is no JSON"),
        (json.dumps({**OK, "action_id": "another"}).encode(), "answered for 'another' where"),
    ],
)
async def test_an_answer_that_may_come_from_something_in_between_is_asked_for_again(
    target: Target, make: Make, content: bytes, words: str
) -> None:
    target.faults.append(answer_bytes(200, content))
    deployer = make(fences=True)
    with pytest.raises(TransientError, match=words):
        await deployer.apply(KEY, order())
    assert (await deployer.apply(KEY, order())).progress is Progress.SUCCEEDED


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ([], "is no object"),
        ({}, "status: Field required"),
        ({"status": "done"}, "status: Input should be"),
        ({**OK, "running_version": 1.1}, "running_version: "),
        ({**OK, "running": {"1.1.0": "2"}}, r"running.1.1.0: "),
        ({**OK, "running": {"1.1.0": -2}}, r"running.1.1.0: "),
        ({**OK, "message": None}, "message: "),
        ({**OK, "details": []}, "details: "),
        ({**OK, "weight": 101}, "weight: "),
        ({**OK, "instances": [{"id": "1"}]}, "instances.0.version: Field required"),
        ({**OK, "instances": [{"id": "1", "version": "1", "url": "file:///x"}]}, "instances.0.url: "),
        (
            {**OK, "instances": [{"id": "1", "version": "1", "started_at": "2026-01-01T00:00:00"}]},
            "started_at",
        ),
    ],
)
async def test_an_answer_of_another_shape_is_refused_and_says_where(
    target: Target, make: Make, content: Any, words: str
) -> None:
    target.faults.append(answer_bytes(200, content))
    with pytest.raises(PermanentError, match=words):
        await make(fences=True).apply(KEY, order())


async def test_an_answer_that_is_too_big_is_not_read_to_its_end(target: Target, make: Make) -> None:
    target.faults.append(answer_bytes(200, b" " * 3_000_000))
    with pytest.raises(PermanentError, match="answers more than 1,000,000 bytes"):
        await make(fences=True).apply(KEY, order())


async def test_a_packed_answer_is_not_unpacked(target: Target, make: Make) -> None:
    target.faults.append(answer_bytes(200, b"\x1f\x8b", Content_Encoding="gzip"))
    with pytest.raises(PermanentError, match="answers packed"):
        await make(fences=True).apply(KEY, order())


async def test_an_answer_that_drips_is_bounded_in_time(target: Target, make: Make) -> None:
    target.faults.append(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")
    with pytest.raises(TransientError, match=r"broke off its answer|did not answer within 0.2 s"):
        await make(fences=True, timeout_s=0.2).apply(KEY, order())


@pytest.mark.parametrize("kind", [Kind.DEPLOY, Kind.RESTORE])
@pytest.mark.parametrize("told", [{"running_version": "1.0.9"}, {"running": {"1.0.9": 4}}, {"running": {}}])
async def test_an_answer_that_names_another_version_is_no_success(
    target: Target, make: Make, kind: Kind, told: dict[str, Any]
) -> None:
    target.faults.append(answer_bytes(200, {"status": "succeeded", **told}))
    reply = await make(fences=True).apply(KEY, order(kind))
    assert reply.progress is Progress.FAILED
    assert "where 1.1.0 was ordered" in reply.result.message


@pytest.mark.parametrize("details", [{}, {"items": [{"id": ""}], "backlog": 0, "oldest_age_s": 0.0}])
async def test_stalled_work_of_another_shape_is_not_taken_for_none(
    target: Target, make: Make, details: dict[str, Any]
) -> None:
    target.faults.append(answer_bytes(200, {"status": "succeeded", "details": details}))
    with pytest.raises(PermanentError, match="find_stalled, answered what cannot be believed"):
        await make().apply(KEY, order(Kind.FIND_STALLED))


# --------------------------------------------------------------------------- reading back


async def test_what_a_target_has_seen_of_generations_is_passed_on(target: Target, make: Make) -> None:
    reply = await make().apply(KEY, order(Kind.VERIFY))
    assert reply.result.details["generation"] == 3
    assert reply.result.running == {"1.0.0": 4}


async def test_a_generation_that_is_no_number_is_refused(target: Target, make: Make) -> None:
    target.readings.append(answer_bytes(200, {**OK, "details": {"generation": "7"}}))
    with pytest.raises(PermanentError, match="no whole number"):
        await make().apply(KEY, order(Kind.VERIFY))


async def test_a_reading_that_does_not_say_what_runs_is_refused(target: Target, make: Make) -> None:
    target.readings.append(answer_bytes(200, {"status": "succeeded"}))
    with pytest.raises(PermanentError, match="without saying what runs"):
        await make().apply(KEY, order(Kind.VERIFY))


async def test_instances_are_those_that_the_target_lists(target: Target, make: Make) -> None:
    target.fake.crash("mail", 1, healthy=False)
    assert await make().instances("mail") == await target.fake.instances("mail")


async def test_a_target_that_only_counts_gives_nameless_instances(target: Target, make: Make) -> None:
    deployer = make()
    target.readings.append(answer_bytes(200, {"status": "succeeded", "running": {"1.0.0": 2, "1.1.0": 1}}))
    target.readings.append(answer_bytes(200, {"status": "succeeded", "running": {"1.1.0": 2}}))
    before, after = await deployer.instances("mail"), await deployer.instances("mail")
    assert [(one.id, one.version, one.url) for one in before] == [
        ("1.0.0-1", "1.0.0", ""),
        ("1.0.0-2", "1.0.0", ""),
        ("1.1.0-1", "1.1.0", ""),
    ]
    assert {one.started_at for one in after} == {before[2].started_at}


async def test_each_reading_has_a_key_of_its_own(target: Target, make: Make) -> None:
    deployer = make()
    await asyncio.gather(deployer.instances("mail"), deployer.instances("mail"))
    assert len({one.headers["idempotency-key"] for one in target.asked}) == 2


@pytest.mark.parametrize("content", [{"status": "failed", "message": "no access"}, {"status": "running"}])
async def test_instances_that_cannot_be_read_are_an_error_and_not_none(
    target: Target, make: Make, content: dict[str, Any]
) -> None:
    target.readings.append(answer_bytes(200, content))
    with pytest.raises(TransientError, match="What runs of mail cannot be read"):
        await make().instances("mail")


# --------------------------------------------------------------------------- options


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"url": "ftp://a"}, "begins with http"),
        ({"url": "http://a:b@c"}, "must not hold a password"),
        ({"url": "http://a/{version}"}, "not version"),
        ({"url": "http://a/{"}, "url"),
        ({"secret_file": None}, "needs one of secret_file and secret_env"),
        ({"secret_env": "X"}, "needs one of secret_file and secret_env"),
        ({"supports": ["deploy", "verify"]}, "lacks restore"),
        ({"supports": ["deploy", "restore", "verify", "notify"]}, "notify"),
        ({"timeout_s": 26}, "timeout_s"),
        ({"token": "x"}, "token"),
    ],
)
def test_bad_options_are_refused_at_load(options: dict[str, Any], words: str) -> None:
    written = {"url": "http://a", "secret_file": "s"} | options
    with pytest.raises(InvalidInput, match=words):
        DEPLOYERS.options("webhook", {name: value for name, value in written.items() if value is not None})


def test_the_library_verifies_what_the_standard_gives_as_its_example() -> None:
    at = datetime.fromtimestamp(1614265330, UTC)
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    sign = Webhook(secret).sign("msg_p5jXN8AQM9LWM0D4loKWxJek", at, '{"test": 2432232314}')
    assert sign == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
