"""The deployer `process` without processes: files written by hand, instances that answer as they are told."""

import errno
import json
import os
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from deployer_lab import process_options

from rollout.core.actions import Action
from rollout.core.errors import InvalidInput, PermanentError, TransientError
from rollout.core.model import Kind
from rollout.deployers.process import ProcessDeployer
from rollout.deployers.process_orders import candidates, progress, slots_for
from rollout.ports import Progress, Reply
from rollout.registry import DEPLOYERS, Surroundings
from rollout.supervisor import files
from rollout.supervisor.client import RegionFiles, hold_region
from rollout.supervisor.files import Desired, Exit, Failure, InstanceStatus, SlotWish, Status
from rollout.testing import ManualClock

T0 = datetime(2026, 3, 2, 10, 0, tzinfo=UTC)
Answers = Mapping[str, Callable[[httpx.Request], httpx.Response]]


def deploy(
    weight: int, version: str = "2.0", from_version: str | None = "1.0", generation: int = 1
) -> Action:
    return Action(
        kind=Kind.DEPLOY,
        region="R3",
        service="mail",
        version=version,
        from_version=from_version,
        weight=weight,
        generation=generation,
    )


def desired(versions: str, **fields: object) -> Desired:
    """`desired("1.0 1.0 2.0")`: what three slots should run."""
    slots = [SlotWish(slot=str(n), version=v) for n, v in enumerate(versions.split(), start=1)]
    return Desired.model_validate({"command": ["x"], "key": "k", "generation": 1, "slots": slots} | fields)


def versions(slots: tuple[SlotWish, ...]) -> str:
    return " ".join(wish.version for wish in slots)


def instance(slot: str, version: str, *, healthy: bool = True) -> InstanceStatus:
    url = f"http://127.0.0.1:800{slot}"
    return InstanceStatus(slot=slot, version=version, url=url, started_at=T0, healthy=healthy, restarts=2)


def status(*instances: InstanceStatus, **fields: object) -> Status:
    return Status.model_validate(
        {"pid": os.getpid(), "at": T0, "key": "k", "generation": 1, "converged": True, "instances": instances}
        | fields
    )


# ---------------------------------------------------------------------- which slot runs what


@pytest.mark.parametrize(
    ("weight", "instances", "expected"),
    [
        (1, 4, 1),
        (25, 4, 1),
        (37, 4, 1),
        (38, 4, 2),
        (50, 5, 3),
        (90, 4, 3),
        (99, 10, 9),
        (100, 4, 4),
        (25, 1, 1),
    ],
)
def test_a_share_is_at_least_one_slot_and_below_100_percent_leaves_one(
    weight: int, instances: int, expected: int
) -> None:
    assert candidates(weight, instances) == expected


def test_the_first_deploy_takes_the_first_slots_and_leaves_the_others_on_from_version() -> None:
    assert versions(slots_for(deploy(50), 4, None)) == "2.0 2.0 1.0 1.0"


def test_slots_that_have_the_release_keep_it_when_the_weight_rises() -> None:
    assert versions(slots_for(deploy(50), 4, desired("1.0 1.0 1.0 2.0"))) == "2.0 1.0 1.0 2.0"


def test_slots_that_have_the_release_are_the_last_to_lose_it() -> None:
    assert versions(slots_for(deploy(25), 4, desired("1.0 2.0 2.0 1.0"))) == "1.0 2.0 1.0 1.0"


def test_without_from_version_the_others_keep_what_they_have() -> None:
    assert versions(slots_for(deploy(25, from_version=None), 3, desired("1.1 1.0 1.1"))) == "2.0 1.0 1.1"


def test_a_share_with_nothing_to_run_beside_it_is_refused() -> None:
    with pytest.raises(PermanentError, match="leaves 3 for another version"):
        slots_for(deploy(25, from_version=None), 4, None)


def test_a_restore_takes_every_slot_also_new_ones() -> None:
    action = Action(kind=Kind.RESTORE, region="R3", service="mail", version="1.0", generation=2)
    assert versions(slots_for(action, 3, desired("2.0 2.0"))) == "1.0 1.0 1.0"


# ---------------------------------------------------------------------- how far an order is


def test_an_order_that_the_supervisor_has_not_seen_is_running() -> None:
    assert progress(desired("1.0 1.0"), None).progress is Progress.RUNNING
    assert progress(desired("1.0", key="new"), status(instance("1", "1.0"))).progress is Progress.RUNNING


def test_an_order_under_way_says_how_many_slots_are_done() -> None:
    under_way = status(instance("1", "2.0"), instance("2", "1.0"), converged=False)
    reply = progress(desired("2.0 2.0"), under_way)
    assert reply.progress is Progress.RUNNING
    assert reply.result.message == "1 of 2 slots are as ordered."


def test_a_converged_order_counts_what_runs() -> None:
    reply = progress(desired("2.0 1.0"), status(instance("1", "2.0"), instance("2", "1.0")))
    assert reply.progress is Progress.SUCCEEDED
    assert reply.result.running == {"2.0": 1, "1.0": 1}


def test_a_failed_order_says_why_with_the_last_words_of_the_process() -> None:
    failure = Failure(slot="1", version="2.0", reason="ended 3 times: exit 1", last_lines=("a", "no disk"))
    reply = progress(
        desired("2.0"), status(instance("1", "2.0", healthy=False), converged=False, failed=failure)
    )
    assert reply.progress is Progress.FAILED
    assert '2.0 in slot 1 ended 3 times: exit 1. Its last words: "no disk".' in reply.result.message
    assert reply.result.details["last_lines"] == ["a", "no disk"]


def test_a_refused_order_is_a_permanent_error_and_an_earlier_refusal_is_none() -> None:
    refused = status(refused="generation 1 of k is lower than 2", refused_key="k", key="before")
    with pytest.raises(PermanentError, match="generation 1 of k is lower"):
        progress(desired("1.0"), refused)
    assert progress(desired("1.0", key="next"), refused).progress is Progress.RUNNING


# ---------------------------------------------------------------------- with a supervisor that lives


class Region:
    """A region whose supervisor lives, with a status and answers written by the test."""

    def __init__(self, directory: Path) -> None:
        self.clock = ManualClock(T0)
        self.directory = directory / "R3"
        self.answers: dict[str, Callable[[httpx.Request], httpx.Response]] = {}
        self.http = httpx.AsyncClient(transport=httpx.MockTransport(self._answer))
        self.deployer = self.make()

    def make(self, **changes: object) -> ProcessDeployer:
        directory = self.directory.parent
        around = Surroundings(region="R3", http=self.http, clock=self.clock, directory=directory)
        made = DEPLOYERS.build("process", process_options(**changes), around)
        assert isinstance(made, ProcessDeployer)
        return made

    def write(self, name: str, content: files.Written) -> None:
        files.write(files.private(self.directory / "mail") / name, content)

    def says(self, slot: str, version: str) -> None:
        self.answers[f"http://127.0.0.1:800{slot}/version"] = lambda _: httpx.Response(
            200, json={"version": version}
        )

    async def ask(self, kind: Kind, key: str = "key", **fields: object) -> Reply:
        action = Action(kind=kind, region="R3", service="mail", **fields)  # type: ignore[arg-type]
        return await self.deployer.apply(key, action)

    def _answer(self, request: httpx.Request) -> httpx.Response:
        answer = self.answers.get(str(request.url).split("?")[0])
        if answer is None:
            raise httpx.ConnectError("refused", request=request)
        return answer(request)


@pytest.fixture
def region(tmp_path: Path) -> Iterator[Region]:
    files.private(tmp_path / "R3")
    with hold_region(tmp_path / "R3") as held:
        assert held
        yield Region(tmp_path)


def hangs(request: httpx.Request) -> httpx.Response:
    raise httpx.ReadTimeout("no answer", request=request)


async def test_an_instance_that_lies_about_its_version_is_named_and_not_counted(region: Region) -> None:
    region.write("status.json", status(instance("1", "2.0"), instance("2", "2.0")))
    region.write("desired.json", desired("2.0 2.0"))
    region.says("1", "2.0")
    region.says("2", "1.0")
    result = (await region.ask(Kind.VERIFY)).result
    assert result.running == {"2.0": 1}
    assert "Slot 2: was started as 2.0 and answers 1.0 on /version." in result.message
    assert result.details["expected"] == {"2.0": 2}


async def test_instances_that_hang_are_dead_or_answer_nonsense_are_not_counted(region: Region) -> None:
    dead = instance("4", "2.0", healthy=False).model_copy(
        update={"url": "", "exits": (Exit(at=T0, slot="4", version="2.0", code=70),)}
    )
    region.write("status.json", status(*(instance(n, "2.0") for n in "123"), dead))
    region.answers["http://127.0.0.1:8001/version"] = hangs
    region.answers["http://127.0.0.1:8003/version"] = lambda _: httpx.Response(200, text="<html>")
    result = (await region.ask(Kind.VERIFY)).result
    assert result.running == {}
    assert "0 of 4 instances" in result.message
    assert "Slot 1: 2.0: GET /version gave no answer within 1 s" in result.message
    assert "Slot 2: 2.0: GET /version: nothing listens there" in result.message
    assert "Slot 3: 2.0: GET /version answered without a version" in result.message
    assert "Slot 4: no process of 2.0 runs there (last: exit 70)" in result.message


async def test_instances_are_given_as_the_supervisor_reports_them(region: Region) -> None:
    region.write("status.json", status(instance("1", "2.0"), instance("2", "1.0", healthy=False)))
    first, second = await region.deployer.instances("mail")
    assert (first.id, first.version, first.url, first.restarts) == ("1", "2.0", "http://127.0.0.1:8001", 2)
    assert (first.healthy, second.healthy) == (True, False)


async def test_a_service_that_was_never_deployed_has_no_instances(region: Region) -> None:
    assert await region.deployer.instances("mail") == ()
    assert (await region.ask(Kind.VERIFY)).result.running == {}


@pytest.mark.parametrize(("age_s", "stale"), [(5.0, False), (5.1, True)])
async def test_a_status_older_than_five_seconds_says_nothing(
    region: Region, age_s: float, stale: bool
) -> None:
    region.write("status.json", status(instance("1", "2.0"), at=T0 - timedelta(seconds=age_s)))
    if stale:
        with pytest.raises(TransientError, match="5 s old"):
            await region.deployer.instances("mail")
    else:
        assert len(await region.deployer.instances("mail")) == 1


async def test_what_an_earlier_supervisor_reported_is_not_believed(region: Region) -> None:
    region.write("status.json", status(instance("1", "2.0"), pid=1))
    with pytest.raises(TransientError, match=rf"Supervisor {os.getpid()} has not reported mail yet.* of 1,"):
        await region.deployer.instances("mail")


async def test_a_damaged_status_is_read_again_and_a_damaged_order_is_not(region: Region) -> None:
    directory = files.private(region.directory / "mail")
    (directory / "status.json").write_text('{"pid": 1')
    with pytest.raises(TransientError, match=r"status\.json cannot be read"):
        await region.deployer.instances("mail")
    (directory / "desired.json").write_text("[]")
    with pytest.raises(PermanentError, match=r"desired\.json cannot be read"):
        await region.deployer.apply("key", deploy(50))


async def test_without_a_supervisor_the_error_says_how_to_start_one(tmp_path: Path) -> None:
    region = Region(tmp_path)
    with pytest.raises(TransientError, match=r"python -m rollout\.supervisor --directory .*R3"):
        await region.deployer.apply("key", deploy(50))
    assert not (tmp_path / "R3" / "mail" / "desired.json").exists()


async def test_an_order_is_written_once_and_its_key_is_remembered(region: Region) -> None:
    assert (await region.deployer.apply("one", deploy(50))).progress is Progress.RUNNING
    first = (region.directory / "mail" / "desired.json").read_bytes()
    await region.deployer.apply("one", deploy(50))
    assert (region.directory / "mail" / "desired.json").read_bytes() == first
    await region.deployer.apply("two", deploy(60, generation=2))
    with pytest.raises(PermanentError, match="one was done before and overtaken by two"):
        await region.deployer.apply("one", deploy(50, generation=2))
    ordered = RegionFiles(region.directory).desired("mail")
    assert ordered is not None
    assert (ordered.key, ordered.rolling, versions(ordered.slots)) == ("two", True, "2.0 2.0 1.0")


async def test_a_lower_generation_leaves_the_order_as_it_is(region: Region) -> None:
    await region.deployer.apply("newer", deploy(50, generation=7))
    before = (region.directory / "mail" / "desired.json").read_bytes()
    with pytest.raises(PermanentError, match="Generation 6 of late is lower than 7 of newer"):
        await region.deployer.apply("late", deploy(100, generation=6))
    assert (region.directory / "mail" / "desired.json").read_bytes() == before


async def test_a_restore_changes_all_slots_at_once(region: Region) -> None:
    await region.ask(Kind.RESTORE, version="1.0", generation=3)
    ordered = RegionFiles(region.directory).desired("mail")
    assert ordered is not None
    assert ordered.rolling is False


@pytest.mark.parametrize("version", ["", "--help", "../1", "1 0", "1{0}", "1.0\n"])
async def test_a_version_that_could_be_an_option_or_a_path_is_refused(region: Region, version: str) -> None:
    with pytest.raises(PermanentError, match="cannot be started"):
        await region.deployer.apply("key", deploy(100, version=version))


@pytest.mark.parametrize("weight", [0, 101, -5])
async def test_a_weight_outside_1_to_100_is_refused(region: Region, weight: int) -> None:
    with pytest.raises(PermanentError, match="order 1 to 100"):
        await region.deployer.apply("key", deploy(weight))


async def test_an_unknown_service_is_refused_and_the_known_ones_are_listed(region: Region) -> None:
    with pytest.raises(PermanentError, match=r"'post'; known: mail"):
        await region.deployer.instances("post")


# ---------------------------------------------------------------------- stalled work and evidence


async def test_stalled_work_is_asked_of_the_next_instance_when_one_hangs(region: Region) -> None:
    found = {"items": [{"id": "7", "age_s": 400.0, "version": "2.0"}], "backlog": 3, "oldest_age_s": 400.0}
    region.write("status.json", status(instance("1", "2.0"), instance("2", "2.0")))
    region.answers["http://127.0.0.1:8001/admin/stalled"] = hangs
    region.answers["http://127.0.0.1:8002/admin/stalled"] = lambda _: httpx.Response(200, json=found)
    assert (await region.ask(Kind.FIND_STALLED)).result.details == found


async def test_items_are_resumed_each_by_its_own_key(region: Region) -> None:
    bodies: list[bytes] = []

    def resume(request: httpx.Request) -> httpx.Response:
        bodies.append(request.content)
        return httpx.Response(200, json={"resumed": 1, "already": 1})

    region.write("status.json", status(instance("1", "2.0", healthy=False), instance("2", "2.0")))
    region.answers["http://127.0.0.1:8002/admin/resume"] = resume
    reply = await region.ask(Kind.RESUME_WORK, "ro/4/1", details={"items": [{"id": "7"}, "8"]})
    assert reply.result.details == {"resumed": 1, "already": 1}
    assert bodies == [b'{"items":[{"id":"7","key":"ro/4/1/7"},{"id":"8","key":"ro/4/1/8"}]}']


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (httpx.Response(503), TransientError),
        (httpx.Response(200, text="no JSON"), TransientError),
        (httpx.Response(200, text="[]"), PermanentError),
        (httpx.Response(200, json={"items": []}), PermanentError),
        (httpx.Response(404, text="no such path"), PermanentError),
    ],
)
async def test_an_admin_endpoint_that_is_missing_is_permanent_and_one_that_fails_is_not(
    region: Region, answer: httpx.Response, error: type[Exception]
) -> None:
    region.write("status.json", status(instance("1", "2.0")))
    region.answers["http://127.0.0.1:8001/admin/stalled"] = lambda _: answer
    with pytest.raises(error):
        await region.ask(Kind.FIND_STALLED)


ITEM = {"id": "7", "age_s": 400, "version": "2.0"}
STALLED = {"items": [ITEM], "backlog": 3, "oldest_age_s": 400}
RESUMED = {"resumed": 1, "already": 0}


def answers(region: Region, path: str, said: object) -> None:
    """Let the one instance answer this, NaN and Infinity included."""
    region.write("status.json", status(instance("1", "2.0")))
    text = json.dumps(said)
    region.answers[f"http://127.0.0.1:8001{path}"] = lambda _: httpx.Response(200, text=text)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"items": "7"}, "items"),
        ({"items": {"id": "7"}}, "items"),
        ({"items": [7]}, "items.0"),
        ({"items": [{"age_s": 1.0}]}, "items.0.id"),
        ({"items": [ITEM | {"id": 7}]}, "items.0.id"),
        ({"items": [ITEM | {"id": ""}]}, "items.0.id"),
        ({"items": [ITEM | {"age_s": -1}]}, "items.0.age_s"),
        ({"items": [ITEM | {"age_s": "400"}]}, "items.0.age_s"),
        ({"items": [ITEM | {"age_s": float("nan")}]}, "items.0.age_s"),
        ({"items": [ITEM | {"version": ["2.0"]}]}, "items.0.version"),
        ({"items": [ITEM] * 10_001}, "items"),
        ({"backlog": -1}, "backlog"),
        ({"backlog": 1.5}, "backlog"),
        ({"backlog": True}, "backlog"),
        ({"backlog": None}, "backlog"),
        ({"backlog": 10**300}, "backlog"),
        ({"oldest_age_s": float("inf")}, "oldest_age_s"),
        ({"oldest_age_s": -0.1}, "oldest_age_s"),
        ({"oldest_age_s": "old"}, "oldest_age_s"),
    ],
)
async def test_stalled_work_that_cannot_be_believed_is_refused_and_its_place_is_named(
    region: Region, change: dict[str, object], named: str
) -> None:
    answers(region, "/admin/stalled", STALLED | change)
    with pytest.raises(PermanentError, match=rf"/admin/stalled answered what cannot be believed: {named}: "):
        await region.ask(Kind.FIND_STALLED)


@pytest.mark.parametrize(
    "said", [[], {}, 7, RESUMED | {"resumed": "1"}, RESUMED | {"already": -1}, {"resumed": 1}]
)
async def test_an_answer_to_resuming_that_cannot_be_believed_is_refused(region: Region, said: object) -> None:
    answers(region, "/admin/resume", said)
    with pytest.raises(PermanentError, match=r"/admin/resume answered .*It must give resumed, already"):
        await region.ask(Kind.RESUME_WORK, details={"items": ["7"]})


async def test_only_what_was_checked_reaches_the_controller(region: Region) -> None:
    said = STALLED | {"items": [ITEM | {"to": "a@example.org"}], "secret": {"deep": [1]}}
    answers(region, "/admin/stalled", said)
    assert (await region.ask(Kind.FIND_STALLED)).result.details == STALLED
    answers(region, "/admin/stalled", STALLED | {"items": [ITEM] * 10_000})
    assert len((await region.ask(Kind.FIND_STALLED)).result.details["items"]) == 10_000


async def test_an_answer_nested_without_end_is_no_answer(region: Region) -> None:
    region.write("status.json", status(instance("1", "2.0")))
    endless = httpx.Response(200, text="[" * 100_000)
    region.answers["http://127.0.0.1:8001/admin/stalled"] = lambda _: endless
    region.answers["http://127.0.0.1:8001/version"] = lambda _: endless
    with pytest.raises(TransientError, match="slot 1: RecursionError"):
        await region.ask(Kind.FIND_STALLED)
    assert (await region.ask(Kind.VERIFY)).result.running == {}


async def test_with_no_healthy_instance_stalled_work_is_asked_for_again_later(region: Region) -> None:
    region.write("status.json", status(instance("1", "2.0", healthy=False)))
    with pytest.raises(TransientError, match="no instance is healthy"):
        await region.ask(Kind.FIND_STALLED)


async def test_a_service_without_admin_endpoints_says_what_to_configure(region: Region) -> None:
    region.deployer = region.make(stalled=None)
    with pytest.raises(PermanentError, match="set `stalled` in its options"):
        await region.ask(Kind.FIND_STALLED)


async def test_evidence_is_kept_under_its_key_even_without_a_supervisor(tmp_path: Path) -> None:
    region = Region(tmp_path)
    logs = files.private(region.directory / "mail" / "logs")
    (logs / "1.log").write_bytes(b"x" * 70_000 + b"\nsigning key expired\n")
    for code, planned in ((70, False), (70, False), (0, True)):
        line = Exit(at=T0, slot="1", version="2.0", code=code, planned=planned).model_dump_json()
        files.append(region.directory / "mail" / "exits.jsonl", line.encode() + b"\n")
    kept = (await region.ask(Kind.COLLECT, "ro_1/4/0")).result.details
    assert kept["exits"] == {"exit 70 of 2.0": 2}
    assert kept["last_lines"]["1"][-1] == "signing key expired"
    (copy,) = kept["logs"]
    assert Path(copy).parent == region.directory / "mail" / "evidence" / "ro_1_4_0"
    assert len(files.tail(Path(copy), 100_000)) == 65_536
    (logs / "1.log").write_text("later\n")
    assert (await region.ask(Kind.COLLECT, "ro_1/4/0")).result.details == kept
    assert files.last_lines(Path(copy))[-1] == "signing key expired"


async def test_only_the_newest_20_copies_of_a_service_are_kept(tmp_path: Path) -> None:
    region = Region(tmp_path)
    evidence = region.directory / "mail" / "evidence"
    for number in range(25):
        await region.ask(Kind.COLLECT, f"ro/{number}/0")
        os.utime(evidence / f"ro_{number}_0", ns=(number, number))
    assert {one.name for one in evidence.iterdir()} == {f"ro_{number}_0" for number in range(5, 25)}
    await region.ask(Kind.COLLECT, "ro/24/0")  # the same again is no new copy
    assert len(list(evidence.iterdir())) == 20


async def test_damaged_records_do_not_keep_evidence_from_being_kept(tmp_path: Path) -> None:
    region = Region(tmp_path)
    good = Exit(at=T0, slot="1", version="2.0", code=70).model_dump_json().encode()
    files.private(region.directory / "mail")
    files.append(region.directory / "mail" / "exits.jsonl", b'{"slot": 1}\n' + good + b"\n{half")
    assert (await region.ask(Kind.COLLECT, "one")).result.details["exits"] == {"exit 70 of 2.0": 1}
    (region.directory / "mail" / "evidence" / "one" / "kept.json").write_text("{")
    assert (await region.ask(Kind.COLLECT, "one")).result.details["exits"] == {"exit 70 of 2.0": 1}


# ---------------------------------------------------------------------- files that cannot be used

ORDERS = [Kind.DEPLOY, Kind.RESTORE, Kind.VERIFY, Kind.REHEARSE, Kind.FIND_STALLED]


@pytest.mark.parametrize("kind", ORDERS)
async def test_a_lock_that_is_a_directory_is_transient_and_named(tmp_path: Path, kind: Kind) -> None:
    region = Region(tmp_path)
    files.private(region.directory / "supervisor.lock")
    with pytest.raises(TransientError, match=r"R3/supervisor\.lock cannot be used: Is a directory"):
        await region.ask(kind, version="1.0", weight=100)
    with pytest.raises(TransientError, match=r"R3/supervisor\.lock cannot be used: Is a directory"):
        await region.deployer.instances("mail")


@pytest.mark.parametrize("kind", [Kind.DEPLOY, Kind.RESTORE, Kind.REHEARSE, Kind.COLLECT])
async def test_an_order_that_cannot_be_locked_is_transient_and_named(region: Region, kind: Kind) -> None:
    files.private(region.directory / "mail" / "deployer.lock")
    with pytest.raises(TransientError, match=r"R3/mail/deployer\.lock cannot be used: Is a directory"):
        await region.ask(kind, version="1.0", weight=100)


@pytest.mark.parametrize("number", [errno.EMFILE, errno.EACCES, errno.EIO])
async def test_a_machine_that_opens_no_file_is_transient_and_the_path_is_named(
    region: Region, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuses(path: Path, *_: object) -> int:
        raise OSError(number, os.strerror(number), str(path))

    monkeypatch.setattr("rollout.supervisor.client.os.open", refuses)
    said = rf"R3/supervisor\.lock cannot be used: {os.strerror(number)}"
    with pytest.raises(TransientError, match=said):
        await region.deployer.instances("mail")


async def test_a_status_that_is_a_directory_is_transient_and_named(region: Region) -> None:
    files.private(region.directory / "mail" / "status.json")
    with pytest.raises(TransientError, match=r"R3/mail/status\.json cannot be used"):
        await region.ask(Kind.VERIFY)


async def test_a_lock_that_names_no_process_is_transient_and_named(region: Region) -> None:
    (region.directory / "supervisor.lock").write_text("garbage")
    with pytest.raises(TransientError, match=r"R3/supervisor\.lock names no process but b'garbage'"):
        await region.deployer.instances("mail")


def test_unknown_options_of_a_service_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="instance"):
        DEPLOYERS.options("process", process_options(instancs=3))


def test_a_directory_that_leads_out_of_the_data_directory_is_refused() -> None:
    with pytest.raises(InvalidInput, match="must not lead out of the data directory"):
        DEPLOYERS.options("process", {"directory": "../../etc", "services": {}}, "regions.0.deployer")
