"""Deployer `process`: local processes of one region, kept running by `python -m rollout.supervisor`.

An order is a file; the supervisor does it, and answers by another (rollout/supervisor/files.py). Only orders
that change what runs (deploy, restore) are fenced by their generation: evidence, read-backs and recovery stay
possible while a newer release runs. Admin endpoints of a service speak JSON:
GET {find}?older_than=S → {items: [{id, age_s, version}], backlog, oldest_age_s};
POST {resume} {items: [{id, key}]} → {resumed, already}.
"""

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

import httpx
from pydantic import Field, field_validator

from rollout.core.actions import Action, ActionResult
from rollout.core.errors import PermanentError, TransientError
from rollout.core.model import Instance, Kind
from rollout.core.policy import Name
from rollout.deployers.process_orders import done, ends, failed, progress, refuse, slots_for
from rollout.deployers.work import ResumedWork, StalledWork, believed
from rollout.ports import Progress, Reply
from rollout.registry import DEPLOYERS, Options, Surroundings
from rollout.supervisor import files, probe
from rollout.supervisor.client import RegionFiles
from rollout.supervisor.evidence import keep_evidence
from rollout.supervisor.files import Desired, InstanceStatus, Rehearse, Status

STALE_S = 5.0  # a status older than this says nothing
ASK_S = 1.0  # for one instance to say its version
ADMIN_S = 3.0  # for an admin endpoint to answer
REMEMBERED = 64  # keys of earlier orders


@contextmanager
def _usable(directory: Path) -> Iterator[None]:
    """Say which file of a region cannot be used, as a TransientError: somebody may mend it meanwhile."""
    try:
        yield
    except OSError as error:
        why = error.strerror or type(error).__name__
        raise TransientError(
            f"{error.filename or directory} cannot be used: {why}. Mend it; it is tried again."
        ) from error
    except ValueError as error:
        text = str(error) if str(directory) in str(error) else f"{directory}: {error}"
        raise TransientError(f"{text}. Mend it; it is tried again.") from error


class StalledOptions(Options):
    """Where a service lists stalled work, and where it is resumed."""

    find: Annotated[str, Field(pattern="^/")] = "/admin/stalled"
    resume: Annotated[str, Field(pattern="^/")] = "/admin/resume"


class ServiceOptions(Options):
    """How a service is started, in how many slots, and how many of them may change at a time.

    `command` may contain {python} {version} {port} {slot} {directory}.
    """

    command: Annotated[tuple[str, ...], Field(min_length=1)]
    instances: Annotated[int, Field(ge=1, le=100)]
    health: Annotated[str, Field(pattern="^/")] = "/healthz"
    environment: dict[str, str] = Field(default_factory=dict)
    stalled: StalledOptions | None = None
    start_within_s: Annotated[float, Field(gt=0, le=600)] = 10.0
    max_unavailable: Annotated[int, Field(ge=1)] = 1


class ProcessOptions(Options):
    """`directory` is the region's, relative to the data directory."""

    directory: Path
    services: dict[Name, ServiceOptions]

    @field_validator("directory")
    @classmethod
    def _inside(cls, directory: Path) -> Path:
        if ".." in directory.parts:
            raise ValueError("must not lead out of the data directory by '..'; write it absolute instead")
        return directory


@DEPLOYERS.register("process", ProcessOptions)
class ProcessDeployer:
    """Orders by file; reads back from the supervisor and from every instance itself."""

    supports = frozenset(kind.value for kind in Kind if kind is not Kind.NOTIFY)
    fences = True

    def __init__(self, options: ProcessOptions, surroundings: Surroundings) -> None:
        self._options = options
        self._around = surroundings
        self._files = RegionFiles((surroundings.directory / options.directory).resolve())
        self._orders: dict[Kind, Callable[[str, Action], Coroutine[Any, Any, Reply]]] = {
            Kind.DEPLOY: self._deploy,
            Kind.RESTORE: self._restore,
            Kind.VERIFY: self._verify,
            Kind.REHEARSE: self._rehearse,
            Kind.COLLECT: self._collect,
            Kind.FIND_STALLED: self._find_stalled,
            Kind.RESUME_WORK: self._resume_work,
        }

    async def apply(self, key: str, action: Action) -> Reply:
        """Do one order. Raises TransientError and PermanentError as the port says."""
        order = self._orders.get(action.kind)
        if order is None:
            known = ", ".join(sorted(self.supports))
            raise PermanentError(f"Deployer 'process' cannot do '{action.kind}'; it can: {known}.")
        with _usable(self._files.directory):
            return await order(key, action)

    async def instances(self, service: str) -> tuple[Instance, ...]:
        """What the supervisor reports, at most 5 s old."""
        with _usable(self._files.directory):
            status = await asyncio.to_thread(self._status, service)
        return tuple(
            Instance(
                id=one.slot,
                version=one.version,
                url=one.url,
                started_at=one.started_at,
                healthy=one.healthy,
                restarts=one.restarts,
            )
            for one in (status.instances if status else ())
        )

    # ------------------------------------------------------------------ deploy and restore

    async def _deploy(self, key: str, action: Action) -> Reply:
        if not 1 <= action.weight <= 100:
            raise PermanentError(f"A deploy of {action.weight} % is not possible; order 1 to 100 %.")
        return await asyncio.to_thread(self._order, key, action, True)

    async def _restore(self, key: str, action: Action) -> Reply:
        return await asyncio.to_thread(self._order, key, action, False)

    def _order(self, key: str, action: Action, rolling: bool) -> Reply:
        options = self._service(action.service)
        self._check_version(action.version)
        self._need_supervisor()
        with self._files.locked(action.service) as directory:
            before = self._desired(action.service)
            if before is None or before.key != key:
                refuse(before, key, action)
                desired = Desired(
                    **self._launch(options),
                    key=key,
                    generation=action.generation,
                    rolling=rolling,
                    max_unavailable=options.max_unavailable,
                    slots=slots_for(action, options.instances, before),
                    seen=(*before.seen, before.key)[-REMEMBERED:] if before else (),
                )
                files.write(directory / "desired.json", desired)
            else:
                desired = before
        return progress(desired, self._status(action.service))

    # ------------------------------------------------------------------ reading back, rehearsing, evidence

    async def _verify(self, _key: str, action: Action) -> Reply:
        """Ask every instance itself: what it was started as and what it says must agree."""
        status = await asyncio.to_thread(self._status, action.service)
        instances = status.instances if status else ()
        doubts = await asyncio.gather(*(self._doubt(one) for one in instances))
        good = [one for one, doubt in zip(instances, doubts, strict=True) if not doubt]
        wrong = {one.slot: doubt for one, doubt in zip(instances, doubts, strict=True) if doubt}
        running = dict(Counter(one.version for one in good))
        desired = await asyncio.to_thread(self._desired, action.service)
        expected = dict(Counter(wish.version for wish in desired.slots)) if desired else {}
        text = f"{len(good)} of {len(instances)} instances answer as the version they were started as."
        text += "".join(f" Slot {slot}: {doubt}." for slot, doubt in wrong.items())
        seen = max(desired.generation if desired else 0, status.generation if status else 0)
        details = {"expected": expected, "wrong": wrong, "generation": seen}
        text = text if instances else "Nothing was ever deployed here."
        return done(text, running=running, details=details)

    async def _doubt(self, one: InstanceStatus) -> str:
        """Why an instance does not count as running its version; empty when it does."""
        if not one.url:
            return f"no process of {one.version} runs there ({ends(one)})"
        try:
            said = await probe.version(self._around.http, one.url, ASK_S)
        except probe.ProbeError as error:
            return f"{one.version}: {error}"
        return "" if said == one.version else f"was started as {one.version} and answers {said} on /version"

    async def _rehearse(self, key: str, action: Action) -> Reply:
        return await asyncio.to_thread(self._rehearse_now, key, action)

    def _rehearse_now(self, key: str, action: Action) -> Reply:
        options = self._service(action.service)
        self._check_version(action.version)
        self._need_supervisor()
        request = Rehearse(**self._launch(options), key=key, version=action.version)
        try:
            result = self._files.rehearse(action.service, request)
        except ValueError as error:
            raise PermanentError(f"{error}; remove the file.") from error
        if result is None:
            return Reply(
                progress=Progress.RUNNING,
                result=ActionResult(message=f"{action.version} is being started apart from users."),
            )
        if result.failure:
            return failed("The rehearsal failed", result.failure)
        return done(
            f"{action.version} was started apart, was healthy, and stopped, in {result.took_s:.1f} s."
        )

    async def _collect(self, key: str, action: Action) -> Reply:
        """Works without a supervisor too: the files are all it needs."""
        self._service(action.service)
        kept = await asyncio.to_thread(keep_evidence, self._files, action.service, key)
        exits = ", ".join(f"{count} × {reason}" for reason, count in kept["exits"].items())
        text = f"Kept {len(kept['logs'])} logs; on record: {exits or 'no unordered exit'}."
        return done(text, details=kept)

    # ------------------------------------------------------------------ stalled work

    async def _find_stalled(self, _key: str, action: Action) -> Reply:
        paths = self._stalled(action.service)
        older = float(action.details.get("stalled_after_s", 300))
        found = await self._admin(action.service, "GET", f"{paths.find}?older_than={older:g}")
        work = believed(found, paths.find, StalledWork)
        text = f"{len(work.items)} items are unfinished for over {older:g} s; {work.backlog} in all."
        return done(text, details=work.model_dump())

    async def _resume_work(self, key: str, action: Action) -> Reply:
        paths = self._stalled(action.service)
        items = [one["id"] if isinstance(one, dict) else one for one in action.details.get("items", ())]
        keyed = [{"id": item, "key": f"{key}/{item}"} for item in items]
        found = await self._admin(action.service, "POST", paths.resume, {"items": keyed})
        work = believed(found, paths.resume, ResumedWork)
        text = f"Resumed {work.resumed} items; {work.already} were resumed or done before."
        return done(text, details=work.model_dump())

    async def _admin(
        self, service: str, method: Literal["GET", "POST"], path: str, body: object = None
    ) -> object:
        """Ask the healthy instances one after the other until one answers."""
        status = await asyncio.to_thread(self._status, service)
        problems: list[str] = []
        for one in status.instances if status else ():
            if not one.healthy:
                continue
            try:
                return await self._ask(method, one.url + path, body)
            except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError, RecursionError) as error:
                problems.append(f"slot {one.slot}: {type(error).__name__} {error}".strip())
        why = "; ".join(problems) or "no instance is healthy"
        raise TransientError(f"{method} {path} of {service} was not answered ({why}). It is tried again.")

    async def _ask(self, method: str, url: str, body: object) -> object:
        async with asyncio.timeout(ADMIN_S):
            answer = await self._around.http.request(method, url, json=body, timeout=ADMIN_S)
        if answer.status_code in {400, 404, 405, 409, 422}:
            raise PermanentError(f"{method} {url} was refused with {answer.status_code}: {answer.text[:200]}")
        answer.raise_for_status()
        found: object = json.loads(answer.content)
        return found

    # ------------------------------------------------------------------ what every order needs

    def _service(self, name: str) -> ServiceOptions:
        try:
            return self._options.services[name]
        except KeyError:
            known = ", ".join(sorted(self._options.services)) or "none"
            raise PermanentError(
                f"Region {self._around.region} does not know service '{name}'; known: {known}. "
                "Add it to the options of the region's deployer."
            ) from None

    def _stalled(self, service: str) -> StalledOptions:
        paths = self._service(service).stalled
        if paths is None:
            raise PermanentError(
                f"Service '{service}' cannot list stalled work: set `stalled` in its options (find, resume)."
            )
        return paths

    def _check_version(self, version: str) -> None:
        if not files.is_version(version):
            raise PermanentError(
                f"'{version}' cannot be started: a version has letters, digits, . _ + - only."
            )

    def _launch(self, options: ServiceOptions) -> dict[str, Any]:
        return {
            "command": options.command,
            "environment": options.environment,
            "health": options.health,
            "start_within_s": options.start_within_s,
        }

    def _need_supervisor(self) -> int:
        """The process id of the region's supervisor. Raises TransientError when none lives."""
        pid = self._files.supervisor()
        if pid is None:
            raise TransientError(
                f"No supervisor runs in {self._files.directory}. Start one: "
                f"python -m rollout.supervisor --directory {self._files.directory}"
            )
        return pid

    def _desired(self, service: str) -> Desired | None:
        try:
            return self._files.desired(service)
        except ValueError as error:
            raise PermanentError(f"{error}. Correct the file or remove it.") from error

    def _status(self, service: str) -> Status | None:
        """What runs; None when nothing was ever ordered. Raises TransientError when nobody can say."""
        self._service(service)
        pid = self._need_supervisor()
        try:
            status = self._files.status(service)
        except ValueError as error:
            raise TransientError(f"{error}. It is read again.") from error
        if status is not None and status.pid != pid:
            raise TransientError(
                f"Supervisor {pid} has not reported {service} yet; what is there is of {status.pid}, its "
                "predecessor. It is read again."
            )
        if status is not None:
            age = (self._around.clock.now() - status.at).total_seconds()
            if age > STALE_S:
                raise TransientError(
                    f"The status of {service} is {age:.0f} s old: supervisor {status.pid} lives and does not "
                    "report. Look at its log; restart it if it hangs."
                )
        return status
