"""The deployer `haproxy` against a pretend haproxy behind a real socket."""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
import structlog
from haproxy_lab import (
    GOOD,
    NEW,
    SERVICE,
    Pretend,
    built,
    compose,
    deploy,
    listening,
    order,
    restore,
    surroundings,
    verify,
)

from rollout.core.decide.back import reads_back
from rollout.core.errors import InvalidInput, PermanentError, TransientError
from rollout.core.model import Instance, Kind
from rollout.deployers.haproxy import HaproxyDeployer
from rollout.deployers.haproxy_options import BackendOptions, HaproxyOptions, ThroughOptions, VersionAt
from rollout.deployers.haproxy_shares import as_instances, in_safe_order, shares, weights_for
from rollout.ports import Progress, Reply
from rollout.registry import DEPLOYERS, Surroundings, load_plugins
from rollout.testing import FakeDeployer, ManualClock

T0 = datetime(2026, 3, 2, 10, 0, tzinfo=UTC)


@dataclass
class Region:
    """Four instances of the good version behind a pretend haproxy."""

    haproxy: Pretend
    inner: FakeDeployer
    deployer: HaproxyDeployer
    around: Surroundings
    again: Callable[[], HaproxyDeployer]


@pytest.fixture
async def around(tmp_path: Path) -> AsyncIterator[Surroundings]:
    load_plugins()
    async with httpx.AsyncClient() as http:
        yield surroundings(tmp_path / "data", ManualClock(T0), http)


@pytest.fixture
async def region(tmp_path: Path, around: Surroundings) -> AsyncIterator[Region]:
    pretend, inner = Pretend(), FakeDeployer(around.clock, "R3")
    inner.install(SERVICE, GOOD)
    for number in range(1, 5):
        pretend.add(f"mail-{number}")
    async with listening(pretend, tmp_path / "ha.sock") as path:

        def again() -> HaproxyDeployer:
            return compose(inner, around=around, socket=path, timeout_s=0.2)

        yield Region(pretend, inner, again(), around, again)


# --------------------------------------------------------------------------- arithmetic


@pytest.mark.parametrize(
    ("percent", "candidates", "others", "weights"),
    [(25, 1, 3, (256, 256)), (50, 2, 2, (256, 256)), (100, 4, 0, (256, 0)), (1, 1, 1, (2, 198))],
)
def test_weights_give_the_share_exactly_where_whole_numbers_can(
    percent: int, candidates: int, others: int, weights: tuple[int, int]
):
    assert weights_for(percent, candidates, others) == weights


@pytest.mark.parametrize("percent", [1, 2, 3, 7, 10, 33, 50, 66, 90, 97, 99])
@pytest.mark.parametrize(("candidates", "others"), [(1, 1), (1, 3), (2, 2), (3, 1), (1, 9), (2, 10)])
def test_every_whole_percent_is_within_a_twentieth_of_a_point_and_nobody_gets_nothing(
    percent: int, candidates: int, others: int
):
    own, other = weights_for(percent, candidates, others)
    share = own * candidates / (own * candidates + other * others)
    assert 1 <= own <= 256
    assert 1 <= other <= 256
    limit = 1 / (1 + 256 * others / candidates), 1 / (1 + others / candidates / 256)
    assert abs(share - percent / 100) <= 0.0005 or not limit[0] < percent / 100 < limit[1]


def test_a_share_that_weights_cannot_reach_comes_as_near_as_they_can():
    assert weights_for(1, 9, 1) == (1, 256)  # 9 of 265: 3.4 %, the least that nine servers can carry


def test_traffic_is_said_in_whole_servers_and_nobody_with_traffic_in_none():
    assert as_instances({"a": 0.99, "b": 0.01}, 4) == {"a": 3, "b": 1}
    assert as_instances({"a": 0.5, "b": 0.5}, 4) == {"a": 2, "b": 2}
    assert as_instances({"a": 1.0}, 3) == {"a": 3}
    assert as_instances({}, 0) == {}
    assert as_instances({"a": 0.9, "b": 0.05, "c": 0.05}, 4) == {"a": 2, "b": 1, "c": 1}


def test_on_the_way_the_candidate_never_carries_more_than_before_and_after():
    for before, after in [
        ({"new": 3, "a": 253}, {"new": 128, "a": 128}),
        ({"new": 128, "a": 128}, {"new": 0, "a": 256}),
        ({"new": 10, "a": 20}, {"new": 30, "a": 200}),
    ]:
        now = dict(before)
        limit = max(shares(w.items()).get("new", 0.0) for w in (before, after))
        for name, weight in in_safe_order(before, after, ["new"]):
            now[name] = weight
            assert shares(now.items()).get("new", 0.0) <= limit + 1e-9
            assert sum(now.values()) > 0
        assert now == after


# --------------------------------------------------------------------------- deploy and restore


async def test_a_quarter_is_ordered_set_and_read_back_as_share_and_as_servers(region: Region):
    reply = await deploy(region.deployer, 25)
    assert reply.progress is Progress.SUCCEEDED
    assert reply.result.running == {NEW: 1, GOOD: 3}
    assert reply.result.details["share"] == {NEW: 0.25, GOOD: 0.75}
    assert "25.0% 1.1.0" in reply.result.message
    assert reads_back(reply.result.running, NEW, GOOD, 25)


async def test_a_small_share_is_exact_though_a_whole_instance_runs_it(region: Region):
    reply = await deploy(region.deployer, 1)
    assert reply.result.details["share"][NEW] == pytest.approx(0.01, abs=0.0005)
    assert region.haproxy.weights()["mail-1"] >= 1
    read_back = await verify(region.deployer, weight=1)
    assert read_back.result.details["instances"] == {NEW: 1, GOOD: 3}
    assert reads_back(read_back.result.running, NEW, GOOD, 1)


async def test_the_whole_goes_to_the_candidate_and_nothing_to_anybody_else(region: Region):
    region.haproxy.add("old-spare")
    reply = await deploy(region.deployer, 100)
    assert reply.result.running == {NEW: 4}
    assert region.haproxy.weights() == {f"mail-{n}": 256 for n in range(1, 5)} | {"old-spare": 0}


async def test_what_comes_up_has_its_weight_before_anybody_reaches_it(region: Region):
    region.inner.slow(Kind.DEPLOY, 3)
    region.inner.crash(SERVICE, 0, healthy=False)  # it is replaced: nobody knows yet what it will be
    assert (await deploy(region.deployer, 2)).progress is Progress.RUNNING
    weights = region.haproxy.weights()
    assert weights["mail-1"] / sum(weights.values()) == pytest.approx(0.02, abs=0.001)


async def test_a_newcomer_carries_no_more_than_those_of_the_candidate_that_are_there(region: Region):
    await deploy(region.deployer, 1, generation=1)
    carried = region.haproxy.weights()["mail-1"]
    region.inner.slow(Kind.DEPLOY, 1)
    region.inner.crash(SERVICE, 1, healthy=False)
    assert (await deploy(region.deployer, 50, generation=2)).progress is Progress.RUNNING
    assert region.haproxy.weights()["mail-2"] == carried
    region.inner.install(SERVICE, GOOD)
    await deploy(region.deployer, 50, generation=2)
    assert shares((name in ("mail-1", "mail-2"), w) for name, w in region.haproxy.weights().items())[
        True
    ] == pytest.approx(0.5, abs=0.001)


async def test_it_waits_until_haproxy_sees_the_candidate(region: Region):
    region.haproxy.servers["mail-1"][0] = "DOWN 1/2"
    reply = await deploy(region.deployer, 25)
    assert reply.progress is Progress.RUNNING
    assert "mail-1 is DOWN 1/2" in reply.result.message
    region.haproxy.servers["mail-1"][0] = "UP"
    assert (await deploy(region.deployer, 25)).progress is Progress.SUCCEEDED


class Moving(FakeDeployer):
    """Its instances listen at ports of this machine that count from `first`."""

    first = 4_000

    async def instances(self, service: str) -> tuple[Instance, ...]:
        found = await super().instances(service)
        return tuple(replace(one, url=f"http://127.0.0.1:{self.first + n}") for n, one in enumerate(found))


@pytest.mark.parametrize("order", [partial(deploy, weight=25), restore])
async def test_while_it_waits_it_follows_an_instance_that_was_started_elsewhere(
    tmp_path: Path, around: Surroundings, order: Callable[[HaproxyDeployer], Awaitable[Reply]]
):
    pretend, inner = Pretend(), Moving(around.clock, "R3", size=2)
    inner.install(SERVICE, GOOD)
    pretend.add("mail-1", "DOWN")
    pretend.add("mail-2")
    async with listening(pretend, tmp_path / "ha.sock") as path:
        deployer = compose(inner, around=around, socket=path, follow=True)
        for _ in range(2):
            assert (await order(deployer)).progress is Progress.RUNNING
        inner.first = 5_000
        assert (await order(deployer)).progress is Progress.RUNNING
    assert pretend.servers["mail-1"][3] == "127.0.0.1:5000"


async def test_a_server_that_a_person_took_out_is_not_counted_and_stays_out(region: Region):
    region.haproxy.servers["mail-4"][0] = "MAINT"
    reply = await deploy(region.deployer, 25)
    assert reply.result.running == {NEW: 1, GOOD: 2}
    assert reply.result.details["share"][NEW] == pytest.approx(0.25, abs=0.001)
    assert region.haproxy.servers["mail-4"][0] == "MAINT"
    assert not [line for line in region.haproxy.asked if "state" in line]


async def test_a_share_without_anybody_for_the_rest_fails(region: Region):
    for number in (2, 3, 4):
        region.haproxy.servers[f"mail-{number}"][0] = "MAINT"
    reply = await deploy(region.deployer, 25)
    assert reply.progress is Progress.FAILED
    assert "the other 75 %" in reply.result.message


async def test_a_restore_takes_the_traffic_away_before_an_instance_is_touched(region: Region):
    await deploy(region.deployer, 50)
    region.inner.slow(Kind.RESTORE, 1)
    reply = await restore(region.deployer)
    assert reply.progress is Progress.RUNNING
    assert [one.version for one in await region.inner.instances(SERVICE)].count(NEW) == 2
    assert region.haproxy.weights() == {"mail-1": 0, "mail-2": 0, "mail-3": 256, "mail-4": 256}
    done = await restore(region.deployer)
    assert done.progress is Progress.SUCCEEDED
    assert done.result.running == {GOOD: 4}
    assert set(region.haproxy.weights().values()) == {256}


async def test_where_no_known_good_is_up_its_traffic_stays_until_one_is(region: Region):
    await deploy(region.deployer, 100)
    region.inner.slow(Kind.RESTORE, 1)
    await restore(region.deployer)
    assert sum(region.haproxy.weights().values()) > 0
    assert (await restore(region.deployer)).result.running == {GOOD: 4}


async def test_a_restore_brings_instances_back_though_haproxy_is_gone(region: Region):
    await deploy(region.deployer, 50)
    region.haproxy.answers[""] = lambda: b""
    with pytest.raises(TransientError, match="broke off"):
        await restore(region.deployer)
    assert {one.version for one in await region.inner.instances(SERVICE)} == {GOOD}
    region.haproxy.answers.clear()
    assert (await restore(region.deployer)).progress is Progress.SUCCEEDED


async def test_a_candidate_that_cannot_start_fails_as_its_deployer_says(region: Region):
    region.inner.fail_next(Kind.DEPLOY, "it ended at once")
    reply = await deploy(region.deployer, 25)
    assert (reply.progress, reply.result.message) == (Progress.FAILED, "it ended at once")


async def test_what_haproxy_cannot_do_its_deployer_does(region: Region):
    reply = await region.deployer.apply("collect", order(Kind.COLLECT))
    assert reply.progress is Progress.SUCCEEDED
    assert region.deployer.supports == region.inner.supports


# --------------------------------------------------------------------------- orders once, in their order


async def test_a_lower_generation_is_refused_also_by_a_controller_that_was_started_anew(region: Region):
    await restore(region.deployer, generation=7)
    before = region.haproxy.weights()
    with pytest.raises(PermanentError, match="Generation 6 of late is lower than 7"):
        await deploy(region.again(), 25, generation=6, key="late")
    assert region.haproxy.weights() == before
    assert [effect.action.kind for effect in region.inner.effects] == [Kind.RESTORE]


async def test_an_order_that_was_overtaken_is_not_done_again(region: Region):
    await deploy(region.deployer, 25, generation=1, key="first")
    await deploy(region.deployer, 50, generation=2, key="second")
    with pytest.raises(PermanentError, match="overtaken by second"):
        await deploy(region.deployer, 25, generation=2, key="first")


async def test_the_same_order_again_sets_nothing_again(region: Region):
    await deploy(region.deployer, 25)
    sets = len(region.haproxy.sets())
    assert (await deploy(region.again(), 25)).progress is Progress.SUCCEEDED
    assert len(region.haproxy.sets()) == sets


async def test_reading_back_says_the_highest_generation_that_was_seen(region: Region):
    await deploy(region.deployer, 25, generation=4)
    assert (await verify(region.deployer, generation=4)).result.details["generation"] == 4


async def test_a_damaged_record_stops_an_order_and_no_way_back(region: Region):
    await deploy(region.deployer, 25)
    record = region.around.directory / "haproxy" / "R3.mail.json"
    record.write_text("{")
    with pytest.raises(PermanentError, match=re.escape(str(record))):
        await deploy(region.deployer, 50, generation=2)
    assert (await restore(region.deployer)).progress is Progress.SUCCEEDED


# --------------------------------------------------------------------------- restarts, and hands


async def test_weights_that_a_restart_forgot_are_set_again_and_it_is_said(region: Region):
    await deploy(region.deployer, 1)
    wanted = region.haproxy.weights()
    region.haproxy.restart()
    assert region.haproxy.weights() != wanted
    with structlog.testing.capture_logs() as logs:
        await region.deployer.instances(SERVICE)
    assert region.haproxy.weights() == wanted
    assert "had forgotten its weights" in logs[0]["event"]


async def test_reading_back_after_a_restart_sets_again_first_and_says_so(region: Region):
    await deploy(region.deployer, 1)
    region.haproxy.restart()
    reply = await verify(region.deployer, weight=1)
    assert reply.progress is Progress.SUCCEEDED
    assert "they were set again: mail-1 100 →" in reply.result.message


async def test_a_weight_changed_by_hand_is_shown_and_left_until_the_next_order(region: Region):
    await deploy(region.deployer, 25)
    region.haproxy.servers["mail-1"][1] = 0
    with structlog.testing.capture_logs() as logs:
        await region.deployer.instances(SERVICE)
        await region.deployer.instances(SERVICE)
    assert [line["event"] for line in logs] == [
        "Weights were changed by hand and are left so until the next order: mail-1 has 0, not 256."
    ]
    assert region.haproxy.weights()["mail-1"] == 0
    reply = await verify(region.deployer, weight=25)
    assert reply.progress is Progress.FAILED
    assert "give 1.1.0 0.0% of the traffic, and 25 % was ordered" in reply.result.message
    await deploy(region.deployer, 50, generation=2)
    assert region.haproxy.weights()["mail-1"] == 256


async def test_a_restored_region_that_somebody_gives_traffic_to_is_not_read_back(region: Region):
    await deploy(region.deployer, 50)
    await restore(region.deployer)
    region.inner.install(SERVICE, GOOD, 3)
    region.haproxy.servers["mail-4"][1] = 5  # it runs nobody knows what, and carries traffic
    running = (await verify(region.deployer, generation=9)).result.running
    assert not reads_back(running, GOOD, None, 100)
    assert running["unknown"] == 1


async def test_what_an_instance_is_not_read_back_as_is_unknown(region: Region):
    await deploy(region.deployer, 25)
    inner = region.inner.apply

    async def lying(key: str, action: Any) -> Any:
        reply = await inner(key, action)
        reply.result.running.pop(NEW, None)
        return reply

    region.inner.apply = lying  # type: ignore[method-assign]
    assert set((await verify(region.deployer, weight=25)).result.running) == {GOOD, "unknown"}


# --------------------------------------------------------------------------- a haproxy that misbehaves


async def test_without_its_socket_nothing_is_deployed_and_it_is_tried_again(region: Region):
    gone = compose(region.inner, around=region.around, socket="/nowhere/ha.sock")
    with pytest.raises(TransientError, match=r"/nowhere/ha.sock cannot be asked: No such file"):
        await deploy(gone, 25)
    assert region.inner.effects == []


async def test_instances_are_listed_and_judged_while_haproxy_does_not_answer(region: Region):
    await deploy(region.deployer, 25)
    region.haproxy.answers[""] = lambda: None
    assert len(await region.deployer.instances(SERVICE)) == 4


async def test_a_silent_socket_is_given_up_in_time(region: Region):
    region.haproxy.answers["show stat"] = lambda: None
    with pytest.raises(TransientError, match=r"did not answer `show stat b 4 -1` within 0.2 s"):
        await deploy(region.deployer, 25)


@pytest.mark.parametrize(
    "garbage",
    [b"\n", b"hello\n", b"# pxname,svname\nb,mail-1\n", b"# a\n\xff\xfe\n", b"# status,weight\n1,x\n", b"x"],
)
async def test_garbage_is_said_and_tried_again(region: Region, garbage: bytes):
    region.haproxy.answers["show stat"] = lambda: garbage
    with pytest.raises(TransientError, match=r"cannot be understood|broke off"):
        await deploy(region.deployer, 25)


async def test_an_answer_without_end_is_cut(region: Region):
    region.haproxy.answers["show stat"] = lambda: b"# " + b"x" * 3_000_000 + b"\n"
    with pytest.raises(TransientError, match="over 1048576 bytes"):
        await deploy(region.deployer, 25)


async def test_a_set_that_says_something_or_does_not_take_has_failed(region: Region):
    region.haproxy.answers["set server"] = lambda: b"\n"
    with pytest.raises(TransientError, match="was set to weight 256 and says 100"):
        await deploy(region.deployer, 25)
    region.haproxy.answers["set server"] = lambda: b"Permission denied\n"
    with pytest.raises(PermanentError, match="level admin"):
        await deploy(region.deployer, 25)


async def test_an_unknown_backend_names_the_known_ones(region: Region):
    socket = region.deployer._options.socket
    wrong = compose(region.inner, around=region.around, socket=socket, backend="nope")
    with pytest.raises(PermanentError, match="no backend 'nope'; known: b, other"):
        await deploy(wrong, 25)


async def test_an_unknown_service_names_the_known_ones(region: Region):
    with pytest.raises(PermanentError, match="no backend for service 'nope'; known: mail"):
        await region.deployer.instances("nope")


async def test_instances_without_a_server_stay_unsplit_and_are_named(region: Region):
    region.haproxy.servers.clear()
    region.haproxy.add("web-1")
    reply = await deploy(region.deployer, 25)
    assert reply.progress is Progress.RUNNING
    assert "web-1 is UP, with no version that is known" in reply.result.message


# --------------------------------------------------------------------------- without another deployer


async def test_servers_of_fixed_versions_are_split_by_weight_alone(tmp_path: Path, around: Surroundings):
    pretend = Pretend()
    for name in ("blue-1", "blue-2", "green-1", "green-2", "backup-1"):
        pretend.add(name)
    versions = {"blue-1": GOOD, "blue-2": GOOD, "green-1": NEW, "green-2": NEW}
    async with listening(pretend, tmp_path / "ha.sock") as path:
        deployer = built(around, socket=path, servers=versions)
        reply = await deploy(deployer, 10)
        assert reply.result.details["share"][NEW] == pytest.approx(0.1, abs=0.001)
        assert pretend.weights()["backup-1"] == 100
        assert [one.version for one in await deployer.instances(SERVICE)] == [GOOD, GOOD, NEW, NEW]
        assert (await restore(deployer)).result.running == {GOOD: 2}
        missing = order(Kind.DEPLOY, version="3.0.0", from_version=GOOD, weight=10, generation=10)
        failed = await deployer.apply("third", missing)
        assert failed.progress is Progress.FAILED
        assert "No server that is in service runs 3.0.0" in failed.result.message
        with pytest.raises(PermanentError, match="it can: deploy, restore, verify"):
            await deployer.apply("collect", order(Kind.COLLECT))


async def test_a_server_that_does_not_say_its_version_has_none(tmp_path: Path, around: Surroundings):
    pretend = Pretend()
    pretend.add("a", address="127.0.0.1:1")
    pretend.add("b", address="no address")
    async with listening(pretend, tmp_path / "ha.sock") as path:
        deployer = built(around, socket=path, version_at={"path": "/version"})
        assert [one.healthy for one in await deployer.instances(SERVICE)] == [False, False]
        assert (await verify(deployer)).result.running == {"unknown": 2}


async def test_an_instance_keeps_its_start_while_haproxy_counts_in_whole_seconds(
    tmp_path: Path, around: Surroundings
):
    pretend = Pretend()
    pretend.add("a")
    async with listening(pretend, tmp_path / "ha.sock") as path:
        deployer = built(around, socket=path, servers={"a": GOOD})
        first = await deployer.instances(SERVICE)
        assert isinstance(around.clock, ManualClock)
        around.clock.advance(1)
        assert await deployer.instances(SERVICE) == first
        around.clock.advance(100)
        assert await deployer.instances(SERVICE) != first


# --------------------------------------------------------------------------- options


def options(**changes: Any) -> dict[str, Any]:
    spot = {"backend": "b", **changes.pop("spot", {})}
    return {"socket": "ha.sock:1", "services": {"mail": spot}, **changes}


@pytest.mark.parametrize(
    ("written", "says"),
    [
        (options(), r"services\.mail: say in one way .* 0 are given"),
        (options(spot={"servers": {"a": "1"}}, through={"kind": "process"}), "2 are given"),
        (options(through={"kind": "proces"}), r"through.kind: unknown kind 'proces'; did you mean 'process'"),
        (
            options(through={"kind": "process", "options": {"direct": 1}}),
            r"options\.through\.options\.direct",
        ),
        (options(spot={"server": "mail-1"}), r"services\.mail\.server"),
        (options(spot={"backend": "b; quit"}), r"services\.mail\.backend"),
        (options(socket="nowhere"), "socket"),
    ],
)
def test_options_that_cannot_work_are_refused_when_they_are_read(written: dict[str, Any], says: str):
    load_plugins()
    with pytest.raises(InvalidInput, match=says):
        DEPLOYERS.options("haproxy", written, "deployer")


def test_every_option_is_in_the_docs():
    text = (Path(__file__).parents[2] / "docs" / "haproxy.md").read_text("utf-8")
    models = (HaproxyOptions, BackendOptions, VersionAt, ThroughOptions)
    missing = {name for model in models for name in model.model_fields if f"`{name}`" not in text}
    assert missing == set()


async def test_a_deployer_that_cannot_restore_is_no_deployer_to_work_through(around: Surroundings):
    half = FakeDeployer(around.clock)
    half.supports = frozenset({Kind.DEPLOY, Kind.VERIFY})  # type: ignore[misc]
    with pytest.raises(InvalidInput, match="has no restore"):
        compose(half, around=around, socket="/x/ha.sock")


async def test_looks_and_orders_at_the_same_time_do_not_disturb_each_other(region: Region):
    looks = [region.deployer.instances(SERVICE) for _ in range(5)]
    replies = await asyncio.gather(deploy(region.deployer, 25), *looks)
    assert replies[0].progress is Progress.SUCCEEDED
    assert (await verify(region.deployer, weight=25)).result.details["share"][NEW] == 0.25
