"""The supervisor: its files, what it refuses, and that nothing outlives it."""

import asyncio
import errno
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from deployer_lab import Lab, pids, process_lab, ready, supervised

from rollout.clock import SystemClock
from rollout.core.errors import TransientError
from rollout.core.model import Kind
from rollout.deployers.process import ProcessDeployer
from rollout.ports import Progress
from rollout.supervisor import files, life
from rollout.supervisor.__main__ import RegionKeeper
from rollout.supervisor.client import RegionFiles, hold_region
from rollout.supervisor.files import Child, Children, Desired, Launch, Status
from rollout.supervisor.life import Place, Wish
from rollout.supervisor.service import ServiceKeeper
from rollout.supervisor.slot import Slot

MakeDeployer = Callable[..., ProcessDeployer]


async def until(true: Callable[[], bool], what: str) -> None:
    """Wait up to 8 s of real time."""
    for _ in range(160):
        if true():
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"not within 8 s: {what}")


# ---------------------------------------------------------------------- files


def test_a_log_is_rotated_and_its_tail_reaches_into_the_older_part(tmp_path: Path) -> None:
    log = tmp_path / "1.log"
    for letter in b"abc":
        files.append(log, bytes([letter]) * 600_000)
    assert log.stat().st_size == 600_000
    assert files.tail(log, 700_000) == b"b" * 100_000 + b"c" * 600_000
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 2 * files.BOUND


def test_a_key_becomes_a_file_name_that_stays_in_its_directory() -> None:
    assert files.file_name("ro_1/4/0") == "ro_1_4_0"
    assert files.file_name("../../x") == "_.._x"
    assert files.file_name("..") == "_"


def test_placeholders_are_filled_in_and_nothing_else_is_read_as_one(tmp_path: Path) -> None:
    launch = Launch(command=("{python}", "--v={version}", "{port}{slot}", "{directory}", "$HOME {other}"))
    command = life.command(Wish("1.0", launch), Place("3", tmp_path, tmp_path / "log"), 8080)
    assert command == [sys.executable, "--v=1.0", "80803", str(tmp_path), "$HOME {other}"]


def test_only_one_supervisor_holds_a_region_and_a_deployer_can_tell(tmp_path: Path) -> None:
    region = RegionFiles(tmp_path)
    assert region.supervisor() is None
    with hold_region(tmp_path) as first, hold_region(tmp_path, within_s=0.0) as second:
        assert (first, second) == (True, False)
        assert region.supervisor() == os.getpid()
    assert region.supervisor() is None


# ---------------------------------------------------------------------- what it takes and refuses


class Orders:
    """One service that is to run nothing, so that no process starts."""

    def __init__(self, directory: Path) -> None:
        self.directory = files.private(directory / "mail")
        self.keeper = self.successor()

    def successor(self) -> ServiceKeeper:
        return ServiceKeeper(self.directory, 1, httpx.AsyncClient(), SystemClock())

    def order(self, key: str, generation: int) -> Status:
        desired = Desired(command=("x",), key=key, generation=generation, slots=())
        files.write(self.directory / "desired.json", desired)
        return self.tick()

    def tick(self) -> Status:
        self.keeper.tick()
        status = files.read(self.directory / "status.json", Status)
        assert status is not None
        return status


async def test_a_lower_generation_is_refused_also_by_a_new_supervisor(tmp_path: Path) -> None:
    orders = Orders(tmp_path)
    assert orders.order("newer", 5).reached == 5
    refused = orders.order("older", 4)
    assert (refused.key, refused.generation) == ("newer", 5)
    assert refused.refused == "generation 4 of older is lower than 5 of newer"
    orders.keeper = orders.successor()
    assert orders.tick().refused == "generation 4 of older is lower than 5 of newer"
    assert orders.order("newest", 6).refused == ""


async def test_a_damaged_order_is_reported_and_what_was_taken_stays(tmp_path: Path) -> None:
    orders = Orders(tmp_path)
    orders.order("good", 1)
    (orders.directory / "desired.json").write_text("{")
    status = orders.tick()
    assert status.key == "good"
    assert "desired.json cannot be read" in status.refused


async def test_a_full_disk_is_said_with_path_and_mend_and_when_it_goes_on_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    desired = Desired(command=("x",), key="k", generation=1, slots=())
    files.write(files.private(tmp_path / "mail") / "desired.json", desired)
    async with httpx.AsyncClient() as http:
        keeper = RegionKeeper(tmp_path, http)
        with monkeypatch.context() as full:
            full.setattr(os, "fsync", no_room)
            keeper._tick_or_say_why_not()
            keeper._tick_or_say_why_not()
        keeper._tick_or_say_why_not()
        keeper._tick_or_say_why_not()
    first, second = capsys.readouterr().err.splitlines()
    assert f"cannot go on: {tmp_path}/mail/accepted.json cannot be used: No space left on device." in first
    assert "Free space on its disk; it is tried again every 0.1 s" in first
    assert second.endswith("goes on again")


def no_room(_descriptor: int) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


# ---------------------------------------------------------------------- real processes


@pytest.mark.real
@pytest.mark.parametrize(("code", "words"), [("print('of this life')", ("of this life",)), ("pass", ())])
async def test_last_words_are_of_this_life_of_the_process(
    tmp_path: Path, code: str, words: tuple[str, ...]
) -> None:
    log = tmp_path / "logs" / "1.log"
    files.append(files.private(log.parent) / log.name, b"of an earlier version\n")
    async with httpx.AsyncClient() as http:
        slot = Slot(Place("1", tmp_path / "data", log), http, SystemClock())
        slot.want(Wish("1.0", Launch(command=("{python}", "-c", code))))
        keeping = asyncio.create_task(slot.keep())
        await until(lambda: slot.failure() is not None, "given up")
        failure = slot.failure()
        slot.want(None)
        await keeping
    assert failure is not None
    assert failure.last_lines == words
    assert failure.reason.endswith("; it wrote nothing") == (not words)
    assert b"of an earlier version" in log.read_bytes()


@pytest.mark.real
def test_leftovers_are_ended_and_a_reused_pid_is_left_alone() -> None:
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as process:
        created = life._child(process.pid)
        assert created is not None
        other = Child(pid=process.pid, created=created.created - 100)
        assert life.end_leftovers(Children(children=(other,))) == 0
        assert process.poll() is None
        assert life.end_leftovers(Children(children=(created,))) == 1
        assert process.poll() is not None


@pytest.mark.real
async def test_a_killed_instance_is_restarted_counted_and_its_stalled_sends_can_be_resumed(
    tmp_path: Path, process_deployer: MakeDeployer
) -> None:
    """The flaw behind incident A: what a process had claimed when it died is finished by nobody."""
    deployer = process_deployer(instances=1)
    with supervised(tmp_path / "R3"):
        lab = await ready(process_lab(deployer, tmp_path / "R3"))
        (before,) = await deployer.instances("mail")
        (pid,) = pids(tmp_path / "R3" / "mail")
        sent = await kill_in_the_middle_of_a_send(
            pid, before.url, tmp_path / "R3" / "mail" / "data" / "mail.db"
        )
        await until(lambda: healthy_restarts(tmp_path) == 1, "healthy after one restart")
        exits = (await lab.order("collect", Kind.COLLECT)).result.details["exits"]
        assert exits == {"signal SIGKILL of 1.0.0": 1}
        found = await wait_for_stalled(lab)
        resumed = await lab.order("resume", Kind.RESUME_WORK, details={"items": found})
        assert resumed.result.details == {"resumed": 1, "already": 0}
        assert await totals_when_done(deployer) == {
            "accepted": sent,
            "delivered": sent,
            "unfinished": 0,
            "duplicates": 0,
        }


async def kill_in_the_middle_of_a_send(pid: int, url: str, database: Path) -> int:
    """Send until the process stands still with a send in hand, and kill it; says how many were accepted."""
    async with httpx.AsyncClient(base_url=url) as users:
        for number in range(1, 200):
            answer = await users.post("/send", json={"to": "a@example.org", "subject": str(number)})
            assert answer.status_code == 202
            os.kill(pid, signal.SIGSTOP)
            if claimed(database):
                os.kill(pid, signal.SIGKILL)
                return number
            os.kill(pid, signal.SIGCONT)
    raise AssertionError("no send was ever in hand")


def claimed(database: Path) -> int:
    reader = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
    (count,) = reader.execute("select count(*) from sends where state = 'claimed'").fetchone()
    reader.close()
    return int(count)


async def totals_when_done(deployer: ProcessDeployer) -> dict[str, int]:
    async with httpx.AsyncClient() as users:
        for _ in range(100):
            (now,) = await deployer.instances("mail")
            totals: dict[str, int] = (await users.get(f"{now.url}/admin/totals")).json()
            if totals["unfinished"] == 0:
                del totals["late"]  # depends on how long the restart took
                return totals
            await asyncio.sleep(0.05)
    raise AssertionError(f"not done after 5 s: {totals}")


def healthy_restarts(directory: Path) -> int:
    """How often the only instance was restarted; 0 while it is down."""
    status = RegionFiles(directory / "R3").status("mail")
    assert status is not None
    return status.instances[0].restarts if status.instances[0].healthy else 0


async def wait_for_stalled(lab: Lab) -> list[dict[str, object]]:
    for _ in range(100):
        found = (await lab.order("find", Kind.FIND_STALLED, details={"stalled_after_s": 1})).result.details
        if found["items"]:
            return list(found["items"])
        await asyncio.sleep(0.05)
    raise AssertionError("nothing is stalled after 5 s")


@pytest.mark.real
async def test_an_instance_that_stands_still_hangs_nobody_and_is_named(
    tmp_path: Path, process_deployer: MakeDeployer
) -> None:
    deployer = process_deployer(instances=2)
    with supervised(tmp_path / "R3"):
        lab = await ready(process_lab(deployer, tmp_path / "R3"))
        status = RegionFiles(tmp_path / "R3").status("mail")
        assert status is not None
        pid = status.instances[0].pid
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        began = time.monotonic()
        result = (await lab.order("verify", Kind.VERIFY)).result
        assert time.monotonic() - began < 4.0  # it would stand still for ever
        os.kill(pid, signal.SIGCONT)
        assert result.running == {"1.0.0": 1}
        assert "Slot 1: 1.0.0: GET /version gave no answer within 1 s" in result.message


@pytest.mark.real
async def test_a_version_that_lies_about_itself_is_refused_and_not_counted(
    tmp_path: Path, process_deployer: MakeDeployer
) -> None:
    deployer = process_deployer(instances=2)
    with supervised(tmp_path / "R3"):
        lab = await ready(process_lab(deployer, tmp_path / "R3"))
        lab.better = "1.1.0-lie"
        reply = await lab.deploy(weight=50)
        assert reply.progress is Progress.FAILED
        assert "it was started as 1.1.0-lie and answers 0.0.0 on /version" in reply.result.message
        read_back = (await lab.order("verify", Kind.VERIFY)).result
        assert read_back.running == {"1.0.0": 1}
        assert read_back.details["wrong"] == {"1": "was started as 1.1.0-lie and answers 0.0.0 on /version"}


@pytest.mark.real
async def test_nothing_outlives_a_killed_supervisor_and_the_next_one_starts_it_all_again(
    tmp_path: Path, process_deployer: MakeDeployer
) -> None:
    deployer = process_deployer(instances=2)
    region = tmp_path / "R3"
    with supervised(region) as supervisor:
        await ready(process_lab(deployer, region))
        assert len(pids(region / "mail")) == 2
        supervisor.kill()
        supervisor.wait()
        await until(lambda: not pids(region / "mail"), "its processes are gone")
        with pytest.raises(TransientError, match="No supervisor runs"):
            await deployer.instances("mail")
    with supervised(region):
        lab = await ready(process_lab(deployer, region))
        assert (await lab.order("verify", Kind.VERIFY)).result.running == {"1.0.0": 2}


@pytest.mark.real
def test_a_second_supervisor_is_refused_with_exit_code_3(tmp_path: Path) -> None:
    with hold_region(tmp_path):
        second = [sys.executable, "-m", "rollout.supervisor", "--directory", str(tmp_path)]
        ended = subprocess.run(second, capture_output=True, text=True, check=False, timeout=10)
    assert ended.returncode == 3
    assert "another supervisor lives in" in ended.stderr


@pytest.mark.real
def test_a_supervisor_that_cannot_lock_its_region_names_the_path(tmp_path: Path) -> None:
    files.private(tmp_path / "supervisor.lock")
    command = [sys.executable, "-m", "rollout.supervisor", "--directory", str(tmp_path)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=10)
    assert ended.returncode == 4
    assert ended.stderr.endswith(f"{tmp_path}/supervisor.lock cannot be used: Is a directory\n")


def parent_of_supervisor(region: Path) -> subprocess.Popen[bytes]:
    """A process that starts a supervisor and does nothing more."""
    code = (
        "import subprocess, sys, time\n"
        "command = [sys.executable, '-m', 'rollout.supervisor', '--lifeline', '--directory', sys.argv[1]]\n"
        "subprocess.Popen(command, stdin=subprocess.PIPE)\n"
        "time.sleep(60)\n"
    )
    return subprocess.Popen([sys.executable, "-c", code, str(region)])


@pytest.mark.real
async def test_nothing_outlives_a_killed_parent(tmp_path: Path, process_deployer: MakeDeployer) -> None:
    region = tmp_path / "R3"
    with parent_of_supervisor(region) as parent:
        await ready(process_lab(process_deployer(instances=1), region))
        assert len(pids(region)) == 3
        parent.kill()
    await until(lambda: not pids(region), "supervisor and instance are gone")
