"""The typed client: what it sends, when it sends it again, what it makes of answers, and how it waits."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from rollout.client import (
    Changed,
    Client,
    Conflict,
    NotAllowed,
    NotAuthenticated,
    NotFound,
    NotOurs,
    Refused,
    Unreachable,
    WaitedTooLong,
    attention,
)
from rollout.client.stream import messages
from rollout.core.model import Phase
from rollout.showing.views import RolloutView
from rollout.testing import ManualClock
from tests.cli.conftest import Answer, StandIn, problem
from tests.cli.views import ID, T0, event, running, service, view

ONE = f"GET /v1/rollouts/{ID}"
START = "POST /v1/rollouts"


@pytest.fixture
def slept() -> list[float]:
    return []


@pytest.fixture
def client(server: StandIn, clock: ManualClock, slept: list[float]) -> Iterator[Client]:
    def sleep(seconds: float) -> None:
        slept.append(seconds)
        clock.advance(seconds)

    transport = httpx.MockTransport(server)
    with Client("http://server.test/", "rot_x", transport=transport, sleep=sleep, clock=clock) as made:
        yield made


def keys(server: StandIn) -> list[str | None]:
    return [request.headers.get("Idempotency-Key") for request in server.asked]


# --------------------------------------------------------------------------- answers


def test_an_answer_is_the_noun_with_its_types(client: Client, server: StandIn) -> None:
    server.answers[ONE] = view()
    found = client.rollout(ID)
    assert isinstance(found, RolloutView)
    assert (found.phase, found.created_at, found.stages[0].regions[0].weight) == (Phase.PROGRESSING, T0, 25)
    assert server.asked[0].headers["Authorization"] == "Bearer rot_x"


def test_a_newer_server_may_say_more_and_use_new_words(client: Client, server: StandIn) -> None:
    newer = view() | {"phase": "meditating", "moon": "full"}
    newer["reason"]["colour"] = "red"
    server.answers[ONE] = newer
    assert client.rollout(ID).phase == "meditating"


def test_an_older_server_may_leave_out_what_has_a_default(client: Client, server: StandIn) -> None:
    older = {key: value for key, value in view().items() if key not in ("gates", "mode", "would")}
    server.answers[ONE] = older
    assert client.rollout(ID).gates == ()


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"created_at": "yesterday"}, "created_at"),
        ({"row_version": "17"}, "row_version"),
        ({"stages": None}, "stages"),
        ({"reason": {"code": "x"}}, "reason"),
    ],
)
def test_an_answer_that_does_not_fit_names_the_place(
    client: Client, server: StandIn, changes: dict[str, Any], place: str
) -> None:
    server.answers[ONE] = view() | changes
    with pytest.raises(NotOurs, match=place):
        client.rollout(ID)


def test_pages_are_read_to_the_end(client: Client, server: StandIn) -> None:
    server.answers["GET /v1/rollouts"] = [
        {"items": [view()], "next_cursor": "ro_9"},
        {"items": [view()], "next_cursor": None},
    ]
    assert len(list(client.rollouts(service="mail-sender", needs_me=True))) == 2
    assert server.asked[1].url.params["cursor"] == "ro_9"
    assert server.asked[0].url.params["needs"] == "me"


def test_services_and_what_runs_are_typed(client: Client, server: StandIn) -> None:
    server.answers["GET /v1/services"] = {"items": [service()]}
    server.answers["GET /v1/services/mail-sender/regions"] = {"items": [running()]}
    assert client.services()[0].policy == "standard"
    assert client.running("mail-sender")[0].running == {"1.1.0": 4}


# --------------------------------------------------------------------------- keys, and asking again


def test_every_post_carries_a_key_which_is_its_own_or_the_given_one(client: Client, server: StandIn) -> None:
    server.answers[START] = view()
    client.start("mail-sender", "1.2.0")
    client.start("mail-sender", "1.2.0")
    client.start("mail-sender", "1.2.0", key="build-7")
    first, second, third = keys(server)
    assert first
    assert first != second
    assert third == "build-7"


@pytest.mark.parametrize(
    "trouble",
    [
        httpx.ConnectError("refused"),
        httpx.ReadTimeout("slow"),
        httpx.RemoteProtocolError("cut off"),
        problem(503, "store", "The database is busy."),
        problem(502, "", "bad gateway"),
        httpx.Response(504, text="<html>"),
        problem(429, "busy", "Too many."),
        httpx.Response(409, json={"type": "/problems/key-in-use"}, headers={"Retry-After": "2"}),
    ],
)
def test_a_change_is_sent_again_with_the_same_key(
    client: Client, server: StandIn, slept: list[float], trouble: Answer
) -> None:
    server.answers[START] = [trouble, trouble, view()]
    assert client.start("mail-sender", "1.2.0").id == ID
    assert len(set(keys(server))) == 1
    assert len(server.asked) == 3
    assert len(slept) == 2


def test_pauses_grow_have_an_end_and_are_never_in_step(
    client: Client, server: StandIn, slept: list[float]
) -> None:
    server.answers[START] = httpx.ConnectError("refused")
    with pytest.raises(Unreachable):
        client.start("mail-sender", "1.2.0")
    assert len(server.asked) == 5
    for number, pause in enumerate(slept):
        assert 0.125 * 2**number <= pause <= 0.25 * 2**number


def test_retry_after_is_waited_for_but_not_for_ever(
    client: Client, server: StandIn, slept: list[float]
) -> None:
    busy = [httpx.Response(429, json={}, headers={"Retry-After": said}) for said in ("3", "86400", "soon")]
    server.answers[START] = [*busy, view()]
    client.start("mail-sender", "1.2.0")
    assert slept[0] == 3
    assert slept[1] == 30
    assert slept[2] < 2


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 412, 422, 428, 500])
def test_a_no_is_not_asked_again(client: Client, server: StandIn, status: int) -> None:
    server.answers[START] = problem(status, "x", "No.")
    with pytest.raises(Refused):
        client.start("mail-sender", "1.2.0")
    assert len(server.asked) == 1


def test_a_deployer_that_failed_is_not_asked_again(client: Client, server: StandIn) -> None:
    server.answers[START] = problem(502, "outside", "The deployer failed.")
    with pytest.raises(Refused):
        client.start("mail-sender", "1.2.0")
    assert len(server.asked) == 1


def test_an_answer_that_was_lost_may_be_recorded(client: Client, server: StandIn) -> None:
    server.answers[START] = httpx.ReadTimeout("slow")
    with pytest.raises(Unreachable) as caught:
        client.start("mail-sender", "1.2.0")
    assert caught.value.perhaps_recorded


def test_a_gate_is_reported_again_until_there_is_an_answer(client: Client, server: StandIn) -> None:
    place = f"PUT /v1/rollouts/{ID}/gates/smoke"
    server.answers[place] = [httpx.ConnectError("refused"), view()]
    client.report_gate(ID, "smoke", "failed", url="https://ci.example/1")
    assert server.body() == {"status": "failed", "url": "https://ci.example/1"}


def test_what_was_decided_upon_goes_along(client: Client, server: StandIn) -> None:
    for verb in ("approve", "promote"):
        server.answers[f"POST /v1/rollouts/{ID}/{verb}"] = view()
    client.approve(ID, "ok", seen=17)
    client.promote(ID, "ok", seen=17, region="R3")
    assert [request.headers["If-Match"] for request in server.asked] == ['"17"', '"17"']
    assert server.body() == {"reason": "ok", "region": "R3"}


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (401, NotAuthenticated),
        (403, NotAllowed),
        (404, NotFound),
        (409, Conflict),
        (412, Changed),
        (422, Refused),
    ],
)
def test_each_no_has_its_kind_with_the_servers_words(
    client: Client, server: StandIn, status: int, kind: type[Refused]
) -> None:
    server.answers[ONE] = problem(status, "touched", "R3 runs it.", [{"pointer": "/x", "detail": "odd"}])
    with pytest.raises(kind) as caught:
        client.rollout(ID)
    error = caught.value
    assert (error.status, error.type, error.detail, error.trace_id) == (
        status,
        "touched",
        "R3 runs it.",
        "abc",
    )
    assert error.places[0]["pointer"] == "/x"


# --------------------------------------------------------------------------- waiting


class Polled:
    """A server that waits: each answer is given after its seconds, unchanged ones as 304."""

    def __init__(self, clock: ManualClock, *answers: tuple[float, Answer]) -> None:
        self.clock, self.answers = clock, list(answers)
        self.asked: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        after_s, answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        self.clock.advance(after_s)
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, httpx.Response):
            return answer
        return httpx.Response(200, json=answer, headers={"ETag": f'"{answer["row_version"]}"'})


@pytest.fixture
def polling(clock: ManualClock) -> Callable[..., tuple[Client, Polled]]:
    def make(*answers: tuple[float, Answer]) -> tuple[Client, Polled]:
        polled = Polled(clock, *answers)
        transport = httpx.MockTransport(polled)
        return Client("http://s.test", transport=transport, sleep=clock.advance, clock=clock), polled

    return make


def at(version: int, phase: Phase = Phase.PROGRESSING) -> Any:
    return view(phase) | {"row_version": version}


def test_waiting_is_a_long_poll_for_the_next_version(polling: Any) -> None:
    client, polled = polling((0, at(1)), (12, at(2)), (20, at(3, Phase.SUCCEEDED)))
    assert client.wait(ID).row_version == 3
    assert [request.headers.get("If-None-Match") for request in polled.asked] == [None, '"1"', '"2"']
    assert polled.asked[1].headers["Prefer"] == "wait=30"


def test_what_changes_without_a_version_is_seen_after_half_a_minute(polling: Any) -> None:
    client, polled = polling((0, at(1)), (30, httpx.Response(304)), (0, at(1) | {"needs_person": True}))
    assert client.wait(ID, attention).needs_person
    assert "If-None-Match" not in polled.asked[2].headers


def test_a_server_that_does_not_wait_is_asked_once_a_second(polling: Any, clock: ManualClock) -> None:
    client, polled = polling((0, at(1)))
    with pytest.raises(WaitedTooLong):
        client.wait(ID, timeout_s=10)
    assert (clock.now() - T0).total_seconds() == 10
    assert len(polled.asked) <= 12


def test_a_wait_is_never_longer_than_its_time(polling: Any, clock: ManualClock) -> None:
    client, polled = polling((0, at(1)), (5, httpx.Response(304)))
    with pytest.raises(WaitedTooLong, match="goes on"):
        client.wait(ID, timeout_s=5)
    assert polled.asked[1].headers["Prefer"] == "wait=5"


def test_waiting_survives_a_restart_of_the_server(polling: Any) -> None:
    away = httpx.ConnectError("refused")
    client, _ = polling((0, at(1)), (0, away), (0, problem(503, "store", "x")), (0, at(2, Phase.CANCELED)))
    assert client.wait(ID).phase == Phase.CANCELED


def test_waiting_ends_when_the_server_stays_away(polling: Any, clock: ManualClock) -> None:
    client, _ = polling((0, at(1)), (0, httpx.ConnectError("refused")))
    with pytest.raises(Unreachable):
        client.wait(ID)
    assert 60 <= (clock.now() - T0).total_seconds() <= 63


# --------------------------------------------------------------------------- the stream


def sse(*events: Any) -> bytes:
    return b"".join(f"id: {e['sequence']}\nevent: x\ndata: {json.dumps(e)}\n\n".encode() for e in events)


class Streamed:
    """Streams that break off, one after the other."""

    def __init__(self, *streams: bytes | Exception | httpx.Response) -> None:
        self.streams = list(streams)
        self.asked: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        found = self.streams.pop(0)
        if isinstance(found, Exception):
            raise found
        if isinstance(found, httpx.Response):
            return found
        return httpx.Response(
            200, content=found, headers={"Content-Type": "text/event-stream; charset=utf-8"}
        )


def followed(clock: ManualClock, *streams: Any, after: int | None = 0) -> tuple[list[int], Streamed, Any]:
    server = Streamed(*streams)
    client = Client("http://s.test", transport=httpx.MockTransport(server), sleep=clock.advance, clock=clock)
    seen: list[int] = []
    error = None
    try:
        for one in client.stream(after=after):
            seen.append(one.sequence)
    except (Refused, Unreachable, NotOurs) as raised:
        error = raised
    return seen, server, error


A, B, C = (event(number, "queued", "preflight", "x") for number in (4, 5, 9))
GONE = problem(401, "not-authenticated", "The token expired.")


def test_a_stream_that_breaks_off_goes_on_with_none_lost_and_none_twice(clock: ManualClock) -> None:
    half = sse(C)[:40]
    seen, server, error = followed(clock, sse(A, B) + half, httpx.ReadError("cut"), sse(B, C), GONE)
    assert seen == [4, 5, 9]
    assert [request.headers["Last-Event-ID"] for request in server.asked] == ["0", "5", "5", "9"]
    assert isinstance(error, NotAuthenticated)


def test_a_stream_from_now_on_knows_its_place_before_the_first_event(clock: ManualClock) -> None:
    seen, server, _ = followed(clock, b": from 7\n\n", sse(C), GONE, after=None)
    assert seen == [9]
    assert [request.headers.get("Last-Event-ID") for request in server.asked] == [None, "7", "9"]


def test_the_servers_goodbye_is_no_event(clock: ManualClock) -> None:
    goodbye = b'event: closed\ndata: {"reason": "The server ends."}\n\n'
    assert followed(clock, sse(A) + goodbye, goodbye, GONE)[0] == [4]


def test_what_is_no_stream_is_said(clock: ManualClock) -> None:
    _, _, error = followed(clock, httpx.Response(200, json={"items": []}))
    assert isinstance(error, NotOurs)


def test_the_format_of_events_is_read_as_the_standard_says() -> None:
    lines = [": hello", "id:7", "data: one", "data:two", "", "event: x", "data: three", "", "data: lost"]
    found = [(one.id, one.kind, one.data) for one in messages(iter(lines))]
    assert found == [("7", "message", "one\ntwo"), ("7", "x", "three")]
