"""The deployer `command` with real programs: what they are told, how they end, and that each runs once."""

import asyncio
import gc
import json
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from rollout import http as web
from rollout.clock import SystemClock
from rollout.core.actions import Action
from rollout.core.errors import InvalidInput, PermanentError, TransientError
from rollout.core.model import Kind
from rollout.deployers import command, command_runner, command_runs
from rollout.deployers.command import CommandDeployer
from rollout.deployers.command_runs import Runs
from rollout.ports import Progress, Reply
from rollout.registry import DEPLOYERS, Surroundings

pytestmark = pytest.mark.real
KEY = "ro_01/7/0"
RUNS = '{"status": "succeeded", "running": {"1.0.0": 4}}'
Make = Callable[..., CommandDeployer]


@pytest.fixture
async def make(tmp_path: Path) -> AsyncIterator[Make]:
    """Makes a deployer whose deploy (or `kind`) is a shell script with this text."""
    made: list[CommandDeployer] = []
    async with web.client() as http:

        def build(script: str = "", kind: str = "deploy", **options: Any) -> CommandDeployer:
            program = tmp_path / f"{kind}.sh"
            program.write_text(f"#!/bin/sh\n{script}\n")
            program.chmod(0o755)
            reads = ["/bin/echo", RUNS]
            commands = {
                "deploy": ["/bin/true"],
                "restore": ["/bin/true"],
                "verify": reads,
                kind: [str(program)],
            }
            written = {"commands": commands, "fences": True} | options
            around = Surroundings(region="R3", http=http, clock=SystemClock(), directory=tmp_path)
            found = DEPLOYERS.build("command", written, around)
            assert isinstance(found, CommandDeployer)
            made.append(found)
            return found

        yield build
    for one in made:
        for runner in tuple(one._runs._runners):
            runner.kill()
            runner.wait()


def order(kind: Kind = Kind.DEPLOY, **changes: Any) -> Action:
    written: dict[str, Any] = {
        "region": "R3",
        "service": "mail",
        "version": "1.1.0",
        "from_version": "1.0.0",
        "weight": 50,
        "generation": 3,
    }
    return Action(kind=kind, **(written | changes))


async def until_done(deployer: CommandDeployer, action: Action | None = None, key: str = KEY) -> Reply:
    for _ in range(20):
        reply = await deployer.apply(key, action or order())
        if reply.progress is not Progress.RUNNING:
            return reply
    raise AssertionError("still running")


def alive(pid: int) -> bool:
    return bool(command_runner.started_at(pid))


async def until(condition: Callable[[], object]) -> None:
    for _ in range(300):
        if condition():
            return
        await asyncio.sleep(0.02)
    raise AssertionError("did not come about within 6 s")


# --------------------------------------------------------------------------- what a program is told


async def test_a_program_is_told_everything_in_its_environment_and_nothing_else(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEPLOY_TOKEN", "hush")
    monkeypatch.setenv("LANG", "C.UTF-8")
    deployer = make(
        f"/usr/bin/env > {tmp_path}/said; echo $# >> {tmp_path}/said", inherit=["LANG", "NOT_SET"]
    )
    await until_done(deployer, order(artifact="sha256:ab"))
    lines = (tmp_path / "said").read_text().splitlines()
    said = dict(line.split("=", 1) for line in lines if "=" in line)
    assert {name: value for name, value in said.items() if name.startswith("ROLLOUT_")} == {
        "ROLLOUT_ACTION": "deploy",
        "ROLLOUT_ACTION_ID": KEY,
        "ROLLOUT_GENERATION": "3",
        "ROLLOUT_ROLLOUT_ID": "ro_01",
        "ROLLOUT_SERVICE": "mail",
        "ROLLOUT_REGION": "R3",
        "ROLLOUT_VERSION": "1.1.0",
        "ROLLOUT_ARTIFACT": "sha256:ab",
        "ROLLOUT_WEIGHT": "50",
        "ROLLOUT_FROM_VERSION": "1.0.0",
        "ROLLOUT_STALLED_AFTER_S": "",
        "ROLLOUT_DETAILS_FILE": str(tmp_path / "commands" / "R3" / "ro_01%2F7%2F0" / "details.json"),
    }
    assert said["LANG"] == "C.UTF-8"
    assert "DEPLOY_TOKEN" not in said
    assert lines[-1] == "0"


async def test_no_shell_reads_a_value(make: Make, tmp_path: Path) -> None:
    deployer = make(f'printf %s "$ROLLOUT_VERSION" > {tmp_path}/said')
    nasty = f"$(touch {tmp_path}/pwned); `id` && | > x"
    await until_done(deployer, order(version=nasty))
    assert (tmp_path / "said").read_text() == nasty
    assert not (tmp_path / "pwned").exists()


async def test_words_of_a_command_are_passed_as_they_are(make: Make, tmp_path: Path) -> None:
    words = [str(tmp_path / "show.sh"), "$HOME", "a b", "*", ""]
    (tmp_path / "show.sh").write_text(f'#!/bin/sh\nprintf "%s|" "$@" > {tmp_path}/said\n')
    (tmp_path / "show.sh").chmod(0o755)
    with pytest.raises(InvalidInput):
        make(commands={"deploy": words, "restore": words, "verify": words})
    fine = words[:-1]
    await until_done(make(commands={"deploy": fine, "restore": fine, "verify": fine}))
    assert (tmp_path / "said").read_text() == "$HOME|a b|*|"


async def test_items_of_work_are_in_a_file_each_with_its_key(make: Make) -> None:
    answer = '{"status": "succeeded", "details": {"resumed": 1, "already": 0}}'
    deployer = make(f"cat $ROLLOUT_DETAILS_FILE >&2; echo '{answer}'", kind="resume_work")
    items = {"items": [{"id": "17", "age_s": 400.0}]}
    reply = await until_done(deployer, order(Kind.RESUME_WORK, details=items))
    said = json.loads(reply.result.details["output"]["stderr"])
    assert said == {"items": [{"id": "17", "key": f"{KEY}/17"}]}


async def test_a_value_that_no_program_can_be_given_is_refused(make: Make) -> None:
    with pytest.raises(PermanentError, match="ROLLOUT_VERSION holds a NUL"):
        await make().apply(KEY, order(version="1\x00"))


# --------------------------------------------------------------------------- how it ends


async def test_exit_0_without_an_answer_is_success_for_a_deploy(make: Make) -> None:
    reply = await until_done(make("echo moved >&2"))
    assert reply.progress is Progress.SUCCEEDED
    assert reply.result.details["output"]["stderr"] == "moved\n"


async def test_exit_0_without_an_answer_is_no_reading(make: Make) -> None:
    reply = await until_done(make(kind="verify"), order(Kind.VERIFY))
    assert reply.progress is Progress.FAILED
    assert "printed nothing; it must print what it found, as JSON" in reply.result.message


async def test_an_answer_on_stdout_is_taken_as_that_of_a_webhook(make: Make) -> None:
    told = '{"status": "failed", "message": "no such image", "details": {"image": "x"}}'
    reply = await until_done(make(f"echo '{told}'"))
    assert (reply.progress, reply.result.message) == (Progress.FAILED, "no such image")
    assert reply.result.details["image"] == "x"


async def test_an_answer_that_names_another_version_is_no_success(make: Make) -> None:
    reply = await until_done(make('echo \'{"status": "succeeded", "running_version": "1.0.9"}\''))
    assert reply.progress is Progress.FAILED
    assert "names 1.0.9, where 1.1.0 was ordered" in reply.result.message


async def test_another_exit_code_is_permanent_with_the_last_lines(make: Make) -> None:
    reply = await until_done(make("seq 100 >&2; echo 'no such cluster' >&2; exit 3"))
    assert reply.progress is Progress.FAILED
    assert 'deploy.sh) failed (exit 3). Its last words: "97 | 98 | 99 | 100 | no such cluster"' in (
        reply.result.message
    )
    assert reply.result.details["output"]["exit"] == 3


async def test_exit_75_is_tried_again_under_the_same_key(make: Make, tmp_path: Path) -> None:
    deployer = make(f"echo $ROLLOUT_ACTION_ID >> {tmp_path}/ran; echo locked >&2; exit 75")
    for _ in range(2):
        with pytest.raises(TransientError, match=r'tried again \(exit 75\). Its last words: "locked"'):
            await until_done(deployer)
    assert (tmp_path / "ran").read_text() == f"{KEY}\n{KEY}\n"


async def test_a_program_that_crashes_is_permanent_and_one_that_was_ended_is_run_again(make: Make) -> None:
    reply = await until_done(make("kill -SEGV $$"))
    assert "failed (SIGSEGV)" in reply.result.message
    with pytest.raises(TransientError, match="was ended by SIGTERM"):
        await until_done(make("kill -TERM $$"), key="another")


@pytest.mark.parametrize(
    "printed", ["Deploying...\\nok", '{"status": "succ', "[]", '{"status": "done"}', "\\377\\376"]
)
async def test_a_command_that_prints_garbage_is_no_success_and_says_what_to_print(
    make: Make, printed: str
) -> None:
    reply = await until_done(make(f"printf '{printed}'"))
    assert reply.progress is Progress.FAILED
    assert "Print one JSON object and nothing else; write logs to stderr" in reply.result.message


async def test_huge_output_neither_stops_the_program_nor_is_kept(make: Make) -> None:
    deployer = make("head -c 3000000 /dev/zero | tr '\\0' x; seq 300000 >&2")
    reply = await until_done(deployer)
    assert "printed 3,000,000 bytes; an answer has at most 65,536" in reply.result.message
    assert len(reply.result.details["output"]["stdout"]) == 65_536
    assert reply.result.details["output"]["stderr"].endswith("299999\n300000\n")
    assert len(reply.result.details["output"]["stderr"]) == 65_536


async def test_a_command_that_never_ends_is_ended_with_its_children_at_its_time_limit(
    make: Make, tmp_path: Path
) -> None:
    deployer = make(f"sleep 600 & echo $! > {tmp_path}/child; echo waiting >&2; wait", timeout_s=0.3)
    with pytest.raises(
        TransientError, match=r'ended at its time limit, after 0\.\d s. Its last words: "waiting"'
    ):
        await until_done(deployer)
    child = int((tmp_path / "child").read_text())
    await until(lambda: not alive(child))


async def test_a_command_that_ignores_being_asked_to_end_is_killed(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick = tmp_path / "runner.py"
    quick.write_text(command_runs.RUNNER.read_text().replace("GRACE_S = 5.0", "GRACE_S = 0.2"))
    monkeypatch.setattr(command_runs, "RUNNER", quick)
    deployer = make(f"trap '' TERM; echo $$ > {tmp_path}/pid; while :; do sleep 0.1; done", timeout_s=0.2)
    with pytest.raises(TransientError, match="time limit"):
        await until_done(deployer)
    assert not alive(int((tmp_path / "pid").read_text()))


async def test_children_that_are_left_behind_end_and_do_not_delay_the_answer(
    make: Make, tmp_path: Path
) -> None:
    reply = await until_done(make(f"sleep 600 & echo $! > {tmp_path}/child"))
    assert reply.progress is Progress.SUCCEEDED
    child = int((tmp_path / "child").read_text())
    await until(lambda: not alive(child))


def no_file(place: Path) -> list[str]:
    return [str(place / "absent.sh")]


def not_in_path(place: Path) -> list[str]:
    return ["surely-absent-program"]


def not_executable(place: Path) -> list[str]:
    (place / "plain.sh").write_text("#!/bin/sh\n")
    return [str(place / "plain.sh")]


def no_interpreter(place: Path) -> list[str]:
    (place / "odd.sh").write_text("#!/absent/sh\n")
    (place / "odd.sh").chmod(0o755)
    return [str(place / "odd.sh")]


def no_first_line(place: Path) -> list[str]:
    (place / "data.sh").write_text("echo hello\n")
    (place / "data.sh").chmod(0o755)
    return [str(place / "data.sh")]


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (no_file, "there is no program .*absent.sh"),
        (not_in_path, "there is no program surely-absent-program; write its whole path"),
        (not_executable, r"plain.sh may not be executed \(chmod \+x\)"),
        (no_interpreter, "odd.sh names an interpreter in its first line that does not exist"),
        (no_first_line, "data.sh is no program: its first line names no interpreter"),
    ],
)
async def test_a_program_that_cannot_start_says_why(
    make: Make, tmp_path: Path, argv: Callable[[Path], list[str]], words: str
) -> None:
    words_of = argv(tmp_path)
    reply = await until_done(make(commands={"deploy": words_of, "restore": words_of, "verify": words_of}))
    assert reply.progress is Progress.FAILED
    with pytest.raises(AssertionError, match=words):
        raise AssertionError(reply.result.message)


async def test_a_working_directory_that_is_missing_is_named(make: Make, tmp_path: Path) -> None:
    reply = await until_done(make(working_directory="absent"))
    assert f"the working directory {tmp_path / 'absent'} does not exist" in reply.result.message


# --------------------------------------------------------------------------- once, however often it is asked


async def test_a_long_program_holds_nobody_up_and_is_asked_for_again(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "WAIT_S", 0.1)
    deployer = make(f"echo x >> {tmp_path}/ran; while [ ! -e {tmp_path}/go ]; do sleep 0.02; done")
    first = await deployer.apply(KEY, order())
    assert first.progress is Progress.RUNNING
    assert "is under way" in first.result.message
    (tmp_path / "go").touch()
    assert (await until_done(deployer)).progress is Progress.SUCCEEDED
    assert (await until_done(deployer)).progress is Progress.SUCCEEDED
    assert (tmp_path / "ran").read_text() == "x\n"


async def test_after_a_restart_of_the_controller_a_program_under_way_is_found(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "WAIT_S", 0.1)
    script = f"echo x >> {tmp_path}/ran; while [ ! -e {tmp_path}/go ]; do sleep 0.02; done; exit 4"
    await make(script).apply(KEY, order())
    again = make(script)
    assert (await again.apply(KEY, order())).progress is Progress.RUNNING
    (tmp_path / "go").touch()
    assert "exit 4" in (await until_done(again)).result.message
    assert (tmp_path / "ran").read_text() == "x\n"


async def test_a_program_that_outlived_its_runner_is_waited_for_and_then_run_again_with_the_same_key(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "WAIT_S", 0.1)
    ran, go = tmp_path / "ran", tmp_path / "go"
    deployer = make(f"echo $ROLLOUT_ACTION_ID $$ >> {ran}; while [ ! -e {go} ]; do sleep 0.02; done")
    await deployer.apply(KEY, order())
    await until(lambda: ran.exists() and list(tmp_path.rglob("child.json")))
    for runner in tuple(deployer._runs._runners):
        runner.kill()
        runner.wait()
    assert (await deployer.apply(KEY, order())).progress is Progress.RUNNING
    assert len(ran.read_text().splitlines()) == 1
    go.touch()
    await until(lambda: not alive(int(ran.read_text().split()[1])))
    assert (await until_done(deployer)).progress is Progress.SUCCEEDED
    assert [line.split()[0] for line in ran.read_text().splitlines()] == [KEY, KEY]


async def test_an_orphan_past_its_time_limit_is_ended_before_the_order_is_given_again(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "WAIT_S", 0.1)
    ran = tmp_path / "ran"
    deployer = make(f"echo $$ >> {ran}; exec sleep 600", timeout_s=0.5)
    await deployer.apply(KEY, order())
    await until(lambda: ran.exists() and list(tmp_path.rglob("child.json")))
    for runner in tuple(deployer._runs._runners):
        runner.kill()
        runner.wait()
    orphan = int(ran.read_text())
    assert alive(orphan)
    await asyncio.sleep(0.5)
    with pytest.raises(TransientError, match="time limit"):
        await until_done(deployer)
    assert not alive(orphan)


@pytest.mark.parametrize("orphaned", [False, True])
async def test_a_way_back_ends_the_deploy_that_is_under_way_and_acts_last(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, orphaned: bool
) -> None:
    monkeypatch.setattr(command, "WAIT_S", 0.1)
    (tmp_path / "restore.sh").write_text(f"#!/bin/sh\necho restored >> {tmp_path}/did\n")
    (tmp_path / "restore.sh").chmod(0o755)
    commands = {"restore": [str(tmp_path / "restore.sh")], "verify": ["/bin/echo", RUNS]}
    commands["deploy"] = ["/bin/sh", "-c", f"sleep 1; echo deployed >> {tmp_path}/did"]
    deployer = make(commands=commands, fences=False)
    assert (await deployer.apply(KEY, order())).progress is Progress.RUNNING
    if orphaned:
        await until(lambda: list(tmp_path.rglob("child.json")))
        for runner in tuple(deployer._runs._runners):
            runner.kill()
            runner.wait()
    back = order(Kind.RESTORE, version="1.0.0", from_version="1.1.0", weight=100, generation=4)
    assert (await until_done(deployer, back, "ro_01/9/1")).progress is Progress.SUCCEEDED
    await asyncio.sleep(1.1)
    assert (tmp_path / "did").read_text() == "restored\n"


async def test_an_older_order_waits_for_the_end_of_a_newer_one(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "WAIT_S", 0.1)
    deployer = make(f"while [ ! -e {tmp_path}/go ]; do sleep 0.02; done")
    assert (await deployer.apply(KEY, order())).progress is Progress.RUNNING
    with pytest.raises(TransientError, match="Another order for mail still runs"):
        await deployer.apply("ro_00/5/0", order(generation=2))
    assert (await deployer.apply("ro_02/5/0", order(service="billing"))).progress is Progress.RUNNING
    (tmp_path / "go").touch()
    assert (await until_done(deployer)).progress is Progress.SUCCEEDED


async def test_a_process_of_another_boot_is_not_taken_for_ours(make: Make, tmp_path: Path) -> None:
    place = tmp_path / "commands" / "R3" / "ro_01%2F7%2F0"
    place.mkdir(parents=True)
    mine = {"pid": os.getpid(), "started": command_runner.started_at(os.getpid()), "boot": "another"}
    (place / "child.json").write_text(json.dumps(mine))
    assert (await until_done(make())).progress is Progress.SUCCEEDED


async def test_running_is_asked_by_the_program_again_after_a_while(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "AGAIN_S", 0.3)
    script = (
        f'echo x >> {tmp_path}/ran; [ $(wc -l < {tmp_path}/ran) -ge 2 ] || echo \'{{"status": "running"}}\''
    )
    deployer = make(script)
    said = [(await deployer.apply(KEY, order())).progress for _ in range(3)]
    assert said == [Progress.RUNNING] * 3
    assert (tmp_path / "ran").read_text() == "x\n"
    await asyncio.sleep(0.3)
    assert (await until_done(deployer)).progress is Progress.SUCCEEDED


async def test_ended_runs_are_kept_in_bounds(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command_runs, "KEPT", 3)
    deployer = make()
    for number in range(6):
        await until_done(deployer, key=f"ro_01/7/{number}")
    assert len(list((tmp_path / "commands" / "R3").iterdir())) == 4


# --------------------------------------------------------------------------- compared before


async def test_programs_that_do_not_fence_are_not_run_where_it_is_so_already(
    make: Make, tmp_path: Path
) -> None:
    deployer = make(f"touch {tmp_path}/ran", fences=False)
    reply = await until_done(deployer, order(version="1.0.0", weight=100))
    assert "runs what was ordered already: 4 × 1.0.0" in reply.result.message
    assert not (tmp_path / "ran").exists()


async def test_a_way_back_is_taken_although_what_runs_cannot_be_read(make: Make, tmp_path: Path) -> None:
    deployer = make("exit 1", kind="verify", fences=False)
    assert (await until_done(deployer, order(Kind.RESTORE))).progress is Progress.SUCCEEDED
    with pytest.raises(TransientError, match="What runs of mail cannot be read"):
        await until_done(deployer, order(Kind.DEPLOY), key="another")


# --------------------------------------------------------------------------- instances


async def test_instances_are_read_by_the_program_of_verify(make: Make) -> None:
    found = await make().instances("mail")
    assert [(one.id, one.version) for one in found] == [(f"1.0.0-{n}", "1.0.0") for n in (1, 2, 3, 4)]


async def test_a_slow_reading_is_bridged_by_the_one_before(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "READING_S", 0.3)
    slow = f"[ ! -e {tmp_path}/slow ] || exec sleep 600; echo '{RUNS}'"
    deployer = make(slow, kind="verify")
    assert len(await deployer.instances("mail")) == 4
    (tmp_path / "slow").touch()
    assert len(await deployer.instances("mail")) == 4
    monkeypatch.setattr(command, "FRESH_S", 0.0)
    with pytest.raises(TransientError, match="has not said yet what runs of mail"):
        await deployer.instances("mail")


async def test_instances_that_cannot_be_read_are_an_error_and_not_none(make: Make) -> None:
    with pytest.raises(TransientError, match=r'cannot be read: .*exit 1.*"no access"'):
        await make("echo no access >&2; exit 1", kind="verify").instances("mail")


# --------------------------------------------------------------------------- options


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"commands": {"deploy": ["a"], "verify": ["a"]}}, "lacks restore"),
        ({"commands": {"deploy": [], "restore": ["a"], "verify": ["a"]}}, "deploy"),
        ({"commands": {"deploy": "rm -rf x", "restore": ["a"], "verify": ["a"]}}, "deploy"),
        ({"commands": {k: ["a"] for k in ("deploy", "restore", "verify", "notify")}}, "notify"),
        ({"inherit": ["ROLLOUT_DATA"]}, "ROLLOUT_DATA cannot be inherited"),
        ({"inherit": ["A=B"]}, "inherit"),
        ({"timeout_s": 0}, "timeout_s"),
        ({"shell": True}, "shell"),
    ],
)
def test_bad_options_are_refused_at_load(options: dict[str, Any], words: str) -> None:
    written = {"commands": {"deploy": ["a"], "restore": ["a"], "verify": ["a"]}} | options
    with pytest.raises(InvalidInput, match=words):
        DEPLOYERS.options("command", written)


async def test_what_has_no_command_is_refused(make: Make) -> None:
    deployer = make()
    assert deployer.supports == {"deploy", "restore", "verify"}
    with pytest.raises(PermanentError, match="R3 has no command for 'rehearse'"):
        await deployer.apply(KEY, order(Kind.REHEARSE))


async def test_a_runner_whose_deployer_is_gone_leaves_no_zombie_when_it_ends(tmp_path: Path) -> None:
    runs = Runs(tmp_path / "runs")
    runs.begin(KEY, ["/bin/sleep", "0.1"], environment={}, details={}, directory=tmp_path, within_s=30)
    pid = runs._runners[0].pid
    del runs
    gc.collect()
    await until(lambda: not Path(f"/proc/{pid}").exists())
