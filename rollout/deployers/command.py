"""Deployer `command`: orders are programs of yours, run without a shell; values are in the environment only.

The contract is docs/deployers.md. A program may run longer than one call of `apply`, and longer than the
controller lives: command_runner.py stays with it, and its result is found under the order's key.
"""

import asyncio
import os
import signal
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Self
from urllib.parse import quote

from pydantic import Field, field_validator, model_validator

from rollout.core.actions import Action, ActionResult
from rollout.core.errors import OutsideError, PermanentError, TransientError
from rollout.core.model import Instance, Kind
from rollout.deployers import answer
from rollout.deployers.answer import FirstSeen, Told
from rollout.deployers.command_runner import BOUND
from rollout.deployers.command_runs import Ended, Runs
from rollout.ports import Progress, Reply
from rollout.registry import DEPLOYERS, Options, Surroundings

TRY_AGAIN = 75  # exit code EX_TEMPFAIL of sysexits.h
STOPPED = frozenset({signal.SIGTERM, signal.SIGKILL, signal.SIGINT, signal.SIGHUP})  # by somebody else
WAIT_S = 1.0  # that one call waits for a program
READING_S = 3.5  # that a reading of instances waits
FRESH_S = 30.0  # for which the last reading is used while the next one runs
POLL_S = 0.05
AGAIN_S = 2.0  # before a program that answered `running` is run again
LAST_LINES = 5
SILENT = frozenset({Kind.DEPLOY, Kind.RESTORE, Kind.REHEARSE, Kind.COLLECT})  # exit code 0 is answer enough
READS = frozenset({Kind.VERIFY, Kind.FIND_STALLED})  # asked anew each time
Variable = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]


class CommandOptions(Options):
    """One program for each action, as a list of words that are passed as they are; no shell reads them.

    `inherit` names variables of the controller's environment that programs get. `working_directory` is
    relative to the data directory, and so is `records`: where runs are kept, which replicas of one machine
    may share. `fences`: the programs refuse a generation lower than one they have seen.
    """

    commands: Mapping[Kind, Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Field(min_length=1)]]
    working_directory: Path = Path()
    records: Path = Path("commands")
    inherit: tuple[Variable, ...] = ("PATH", "HOME", "LANG")
    fences: bool = False
    timeout_s: Annotated[float, Field(ge=0.1, le=3600)] = 300.0

    @field_validator("commands")
    @classmethod
    def _whole(cls, commands: Mapping[Kind, tuple[str, ...]]) -> Mapping[Kind, tuple[str, ...]]:
        if missing := [kind.value for kind in answer.BASIC if kind not in commands]:
            raise ValueError(f"lacks {', '.join(missing)}: no rollout is possible without")
        if Kind.NOTIFY in commands:
            raise ValueError("notify is no order for a deployer")
        if any("\0" in word for words in commands.values() for word in words):
            raise ValueError("no word may hold a NUL")
        return commands

    @model_validator(mode="after")
    def _ours(self) -> Self:
        if taken := [name for name in self.inherit if name.startswith("ROLLOUT_")]:
            raise ValueError(f"{', '.join(taken)} cannot be inherited: ROLLOUT_ is what orders say")
        return self


@dataclass(frozen=True, slots=True)
class _Reading:
    told: Told
    at: datetime


@DEPLOYERS.register("command", CommandOptions)
class CommandDeployer:
    """Runs programs for one region's orders, never two at once under one key."""

    told_region = True  # ROLLOUT_REGION

    def __init__(self, options: CommandOptions, surroundings: Surroundings) -> None:
        self._options = options
        self._around = surroundings
        self._directory = (surroundings.directory / options.working_directory).resolve()
        records = (surroundings.directory / options.records).resolve()
        self._runs = Runs(records / quote(surroundings.region, safe=""))
        self._life = uuid.uuid4().hex  # a reading of an earlier life is not one of now
        self._readings: dict[str, _Reading] = {}
        self._first_seen = FirstSeen()
        self._not_before: dict[str, datetime] = {}
        self.supports = frozenset(kind.value for kind in options.commands)
        self.fences = options.fences

    async def apply(self, key: str, action: Action) -> Reply:
        """Run the program of an order, or look how it ended. Raises TransientError and PermanentError."""
        self._check(action)
        if not self.fences and action.kind is Kind.DEPLOY:
            before = await self._before(key, action)
            if before is not None:
                return before
        ended = await self._run(key, action, WAIT_S, self._options.timeout_s)
        if ended is None:
            return _running(f"{self._name(action)} is under way.")
        return await self._conclude(key, action, ended)

    async def instances(self, service: str) -> tuple[Instance, ...]:
        """What the program of `verify` tells, at most 30 s old. Raises TransientError and PermanentError."""
        action = Action(kind=Kind.VERIFY, region=self._around.region, service=service)
        key = f"reading/{self._life}/{service}"
        ended = await self._run(key, action, READING_S, self._options.timeout_s)
        now = self._around.clock.now()
        if ended is not None:
            await asyncio.to_thread(self._runs.forget, key)
            self._readings[service] = _Reading(self._readable(key, action, ended), now)
        known = self._readings.get(service)
        if known is None or (now - known.at).total_seconds() > FRESH_S:
            raise TransientError(f"{self._name(action)} has not said yet what runs of {service}.")
        return answer.instances_of(known.told, self._first_seen.of(service, known.told, now))

    # ------------------------------------------------------------------ running

    async def _run(self, key: str, action: Action, wait_s: float, within_s: float) -> Ended | None:
        """How the program of a key ended; it is started where it was not. None while it runs."""
        ended = await asyncio.to_thread(self._runs.ended, key)
        now = self._around.clock.now()
        if ended is None and now >= self._not_before.get(key, now):
            await asyncio.to_thread(self._begin, key, action, within_s)
            ended = await self._wait(key, wait_s)
        return ended

    async def _wait(self, key: str, wait_s: float) -> Ended | None:
        for _ in range(round(wait_s / POLL_S)):
            await asyncio.sleep(POLL_S)
            if ended := await asyncio.to_thread(self._runs.ended, key):
                return ended
        return None

    def _begin(self, key: str, action: Action, within_s: float) -> None:
        details = answer.details_of(key, action)
        environment = {name: os.environ[name] for name in self._options.inherit if name in os.environ}
        environment |= told_by_environment(key, action)
        environment["ROLLOUT_DETAILS_FILE"] = str(self._runs.place(key) / "details.json")
        if wrong := [name for name, value in environment.items() if "\0" in value]:
            raise PermanentError(f"{wrong[0]} holds a NUL, which no program can be given.")
        try:
            self._runs.begin(
                key,
                self._options.commands[action.kind],
                environment=environment,
                details=details,
                directory=self._directory,
                within_s=within_s,
                moves=action.service if action.kind in answer.MOVES else "",
                generation=action.generation,
            )
        except OSError as error:
            why = error.strerror or type(error).__name__
            raise TransientError(f"{error.filename or 'A file'} of {key} cannot be used: {why}.") from error

    async def _before(self, key: str, action: Action) -> Reply | None:
        """Read back before a deploy is ordered; None when it has to be, or was ordered already.

        A way back is always ordered: what is read may change yet, by a deploy that is under way.
        """
        if await asyncio.to_thread(self._runs.known, key):
            return None
        read = answer.reading(action)
        ended = await self._run(f"{key}/before", read, WAIT_S, self._options.timeout_s)
        if ended is None:
            return _running("What runs is read before anything is ordered.")
        await asyncio.to_thread(self._runs.forget, f"{key}/before")
        told = self._readable(f"{key}/before", read, ended)
        return answer.already(told, self._name(read)) if answer.as_ordered(told, action) else None

    # ------------------------------------------------------------------ what a program's end means

    async def _conclude(self, key: str, action: Action, ended: Ended) -> Reply:
        try:
            reply = _with_output(self._reply(key, action, ended), action, ended)
        except TransientError:
            await asyncio.to_thread(self._runs.forget, key)
            raise
        if reply.progress is Progress.RUNNING:
            self._not_before[key] = self._around.clock.now() + timedelta(seconds=AGAIN_S)
        else:
            self._not_before.pop(key, None)
        if reply.progress is Progress.RUNNING or action.kind in READS:
            await asyncio.to_thread(self._runs.forget, key)
        return reply

    def _reply(self, key: str, action: Action, ended: Ended) -> Reply:
        """What the end of a program means. Raises TransientError when it is worth running again."""
        name = self._name(action)
        if ended.cannot_start:
            if ended.busy:
                raise TransientError(f"{name} cannot start now: {ended.cannot_start}. It is tried again.")
            return _failed(f"{name} cannot start: {ended.cannot_start}.")
        if ended.late:
            raise TransientError(
                f"{name} was ended at its time limit, after {ended.took_s:.1f} s.{_last(ended)} Whether it "
                "acted is unknown; it is run again under the same key."
            )
        if ended.exit == TRY_AGAIN:
            raise TransientError(f"{name} asks to be tried again (exit {TRY_AGAIN}).{_last(ended)}")
        if ended.exit is not None and -ended.exit in STOPPED:
            raise TransientError(
                f"{name} was ended by {_signal(ended)}.{_last(ended)} It is run again under the same key."
            )
        if ended.exit != 0:
            how = f"exit {ended.exit}" if ended.exit is None or ended.exit > 0 else _signal(ended)
            return _failed(f"{name} failed ({how}).{_last(ended)}")
        return self._answered(key, action, ended)

    def _answered(self, key: str, action: Action, ended: Ended) -> Reply:
        name = self._name(action)
        if ended.stdout_size > BOUND:
            return _failed(
                f"{name} printed {ended.stdout_size:,} bytes; an answer has at most {BOUND:,}. Print the "
                "answer only, and write logs to stderr."
            )
        if not ended.stdout.strip():
            return self._silent(action, ended)
        try:
            return answer.reply_of(answer.read_answer(ended.stdout.encode(), name), key, action, name)
        except OutsideError as error:
            return _failed(f"{error} Print one JSON object and nothing else; write logs to stderr.")

    def _silent(self, action: Action, ended: Ended) -> Reply:
        name = self._name(action)
        if action.kind not in SILENT:
            return _failed(f"{name} ended well and printed nothing; it must print what it found, as JSON.")
        text = f"{name} ended well after {ended.took_s:.1f} s."
        return Reply(progress=Progress.SUCCEEDED, result=ActionResult(message=text))

    def _readable(self, key: str, action: Action, ended: Ended) -> Told:
        """A reading that succeeded. Raises TransientError with what went wrong otherwise."""
        reply = self._reply(key, action, ended)
        if reply.progress is not Progress.SUCCEEDED:
            raise TransientError(f"What runs of {action.service} cannot be read: {reply.result.message}")
        return answer.read_answer(ended.stdout.encode(), self._name(action))

    # ------------------------------------------------------------------ what every order needs

    def _check(self, action: Action) -> None:
        if action.kind not in self._options.commands:
            known = ", ".join(sorted(self.supports))
            raise PermanentError(
                f"{self._around.region} has no command for '{action.kind}'; it has some for: {known}."
            )

    def _name(self, action: Action) -> str:
        program = Path(self._options.commands[action.kind][0]).name
        return f"The command of {action.kind} ({program})"


def told_by_environment(key: str, action: Action) -> dict[str, str]:
    """An order as environment variables; what is not known is empty."""
    said: dict[str, Any] = {
        "ACTION": action.kind.value,
        "ACTION_ID": key,
        "GENERATION": action.generation,
        "ROLLOUT_ID": answer.rollout_of(key),
        "SERVICE": action.service,
        "REGION": action.region,
        "VERSION": action.version,
        "ARTIFACT": action.artifact,
        "WEIGHT": action.weight,
        "FROM_VERSION": action.from_version,
        "STALLED_AFTER_S": action.details.get("stalled_after_s"),
    }
    return {f"ROLLOUT_{name}": "" if value is None else str(value) for name, value in said.items()}


def _with_output(reply: Reply, action: Action, ended: Ended) -> Reply:
    """Keep what was printed with the result; of a reading that went well, the answer is all."""
    if reply.progress is Progress.RUNNING or (
        reply.progress is Progress.SUCCEEDED and action.kind in READS and not ended.stderr
    ):
        return reply
    shown = {"exit": ended.exit, "took_s": ended.took_s, "stderr": ended.stderr}
    if reply.progress is Progress.FAILED or action.kind not in READS:
        shown["stdout"] = ended.stdout
    kept = {**reply.result.details, "output": {name: value for name, value in shown.items() if value != ""}}
    result = ActionResult(message=reply.result.message, running=reply.result.running, details=kept)
    return Reply(progress=reply.progress, result=result)


def _last(ended: Ended) -> str:
    """The last lines of what a program wrote, on one line."""
    lines = [line.strip() for line in (ended.stderr or ended.stdout).splitlines() if line.strip()]
    said = " | ".join(lines[-LAST_LINES:])[-500:]
    shown = "".join(letter if letter.isprintable() else " " for letter in said)
    return f' Its last words: "{shown}".' if shown else ""


def _signal(ended: Ended) -> str:
    number = -(ended.exit or 0)
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _running(message: str) -> Reply:
    return Reply(progress=Progress.RUNNING, result=ActionResult(message=message))


def _failed(message: str) -> Reply:
    return Reply(progress=Progress.FAILED, result=ActionResult(message=message))
