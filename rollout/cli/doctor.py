"""The verb doctor: one line for each thing that has to work, with what mends it. Leaves all as it was."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from rich.text import Text

from rollout.bootstrap import Plugins
from rollout.cli.exits import Exit, Failure
from rollout.cli.remote import WITHOUT_DATABASE
from rollout.cli.session import Session
from rollout.config import Configuration, load_configuration
from rollout.core import reason as say
from rollout.core.errors import InvalidInput, RolloutError
from rollout.core.model import Plugin, Region
from rollout.core.signals import Signal
from rollout.http import client
from rollout.ports import Ask, Clock
from rollout.registry import SOURCES
from rollout.store.engine import open_database
from rollout.store.migrations import may_write, versions

SKEW_S = 5.0  # more between two clocks makes samples look old
WITHIN_S = 15.0  # for one region to answer
ROOM = 1_000_000  # bytes; with less the disk of the database is full
_FILE = "sqlite:///"
Declared = Mapping[str, tuple[str, ...]]  # service → its regions; none is every region
_SIGNS = {"pass": ("✔", "green"), "warn": ("!", "yellow"), "fail": ("✖", "red"), "skip": ("–", "dim")}
_NOTHING = "nothing runs there yet, so nothing was asked"
_UNKNOWN = "not known: no server says which services are declared, so nothing was asked"


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing that was looked at. `state` is pass, warn, fail or skip; `fix` is what mends it."""

    name: str
    state: str
    message: str
    fix: str = ""


def examine(session: Session) -> Exit | None:
    """Print one line for each check. Returns 1 when any failed."""
    checks = asyncio.run(_all(session))
    session.show(
        {"checks": [asdict(check) for check in checks]}, lambda _: Text("\n").join(map(_drawn, checks))
    )
    failed = sum(check.state == "fail" for check in checks)
    if failed:
        session.say(f"{failed} of {len(checks)} checks failed; mend the first one, then: rollout doctor")
        return Exit.UNEXPECTED
    return None


async def _all(session: Session) -> list[Check]:
    return [check async for check in _checks(session)]


async def _checks(session: Session) -> AsyncIterator[Check]:
    configuration, check = _configuration(session.settings.config)
    yield check
    declared, server = _server(session)
    if configuration is not None:
        async with client(WITHIN_S / 3) as http:
            plugins = Plugins(session.settings, session.world.clock, http)
            for region in sorted(configuration.regions.values(), key=lambda r: r.order):
                look = _Region(region, declared, configuration.signals, plugins, session.world.clock)
                mend = f"see that what it names runs, and {region.name} in {session.settings.config}"
                name = f"{region.name} deployer {region.deployer.kind}"
                deployer = await _told(name, look.deployer, f"{mend}/regions.yaml", look.unasked)
                yield deployer
                if warned := _unshared(session, region.name, region.deployer):
                    yield warned
                source = f"{region.name} source {region.source.kind}"
                if deployer.state == "pass":
                    yield await _told(source, look.source, f"{mend}/policies/signals.yaml", _NOTHING)
                else:
                    yield Check(name=source, state="skip", message="its deployer names no instance to ask")
    yield _database(session)
    for check in server:
        yield check
    for service in declared or ():
        for check in (*_doubts(session, service), *_signals(session, service)):
            yield check


def _configuration(directory: Path) -> tuple[Configuration | None, Check]:
    try:
        found = load_configuration(directory)
    except InvalidInput as error:
        fix = "mend each place that is named, or set ROLLOUT_CONFIG"
        return None, Check(name="configuration", state="fail", message=str(error), fix=fix)
    policies = say.many(len(found.policies), "policy", "policies")
    said = f"{directory}: {say.many(len(found.regions), 'region')}, {policies}"
    return found, Check(name="configuration", state="pass", message=said)


class _Region:
    """Asks the deployer and the source of one region what the controller would ask."""

    def __init__(
        self,
        region: Region,
        declared: Declared | None,
        signals: Mapping[str, Signal],
        plugins: Plugins,
        clock: Clock,
    ) -> None:
        self._region, self._signals, self._clock, self._plugins = region, signals, clock, plugins
        self._written = region.deployer.options.get("services")
        self.unasked = _UNKNOWN if declared is None else "no service is declared there yet"
        here = [name for name, regions in (declared or {}).items() if not regions or region.name in regions]
        self._services = tuple(dict.fromkeys((*here, *(self._written or ()))))
        self._deployer = plugins.deployer(region)

    async def deployer(self) -> str:
        """What runs of each service. Raises OutsideError, for example when no supervisor lives.

        Raises Failure for a service that the deployer's options leave out.
        """
        said = []
        for service in self._services:
            if self._written is not None and service not in self._written:
                raise self._unknown(service, ", ".join(self._written) or "none")
            found = await self._deployer.instances(service)
            said.append(
                f"{service}: {say.many(len(found), 'instance')}, {sum(one.healthy for one in found)} healthy"
            )
        return "; ".join(said)

    def _unknown(self, service: str, known: str) -> Failure:
        name = self._region.name
        message = f"{service} is declared for {name}, whose deployer does not know it; known: {known}"
        fix = (
            f"in regions.yaml, under {name}, deployer, options, services, add: "
            f"{service}: {{command: [...], instances: 1}}; or leave {name} out: "
            f"rollout service put {service} --region (each region that it runs in)"
        )
        return Failure(message, Exit.UNEXPECTED, fix)

    async def source(self) -> str:
        """How many numbers came from each service. Raises OutsideError, also for a single deaf instance."""
        source = self._plugins.source(self._region)
        said = []
        for service in self._services:
            instances = await self._deployer.instances(service)
            if not instances:
                continue
            ask = Ask(
                service=service,
                region=self._region.name,
                signals=self._readable(),
                instances=instances,
                cursor={},
                now=self._clock.now(),
            )
            reading = await source.collect(ask)
            if reading.problems:
                raise InvalidInput("; ".join(reading.problems))
            said.append(f"{service}: {say.many(len(instances), 'instance')} answered")
        return "; ".join(said)

    def _readable(self) -> tuple[Signal, ...]:
        kind = self._region.source.kind
        typed = SOURCES.signal_options(kind) is not None
        return tuple(signal for signal in self._signals.values() if not typed or kind in signal.sources)


async def _told(name: str, look: Callable[[], Awaitable[str]], mend: str, unasked: str) -> Check:
    """Ask, and turn the answer or its error into a line; `mend` is the fix of an error that brings none.

    `unasked` is said where there was nothing to ask.
    """
    try:
        async with asyncio.timeout(WITHIN_S):
            said = await look()
    except TimeoutError:
        fix = "see whether it hangs"
        return Check(name=name, state="fail", message=f"no answer within {WITHIN_S:g} s", fix=fix)
    except Failure as failure:
        return Check(name=name, state="fail", message=failure.message, fix=failure.then)
    except RolloutError as error:
        return Check(name=name, state="fail", message=str(error), fix=mend)
    if not said:
        return Check(name=name, state="skip", message=unasked)
    return Check(name=name, state="pass", message=said)


_APART = (
    "replicas share the database, and each keeps the runs of its programs for itself: after one is killed, "
    "another may run the same order beside it, and a newer restore does not end an older deploy"
)
_SHARE = (
    "in regions.yaml gets `fences: true` where its programs refuse a lower ROLLOUT_GENERATION, or `records:` "
    "a directory outside ROLLOUT_DATA that all replicas, on one machine, use (docs/deployers.md)"
)


_TWO_WORLDS = (
    "replicas share the database, and each has instances of its own in its ROLLOUT_DATA: what one deploys or "
    "restores there, the others do not see"
)
_ONE_WORLD = (
    "in regions.yaml gets a `directory` outside ROLLOUT_DATA that all replicas, on one machine, use, with "
    "its supervisor there (docs/operations.md)"
)


def _unshared(session: Session, region: str, deployer: Plugin) -> Check | None:
    """What replicas do not share of a deployer, also of one inside another, though they share a database."""
    inner = deployer.options.get("through")
    if inner is not None:
        return _unshared(session, region, Plugin(kind=inner["kind"], options=inner.get("options", {})))
    if session.settings.database_url.startswith(_FILE):
        return None
    data, options = session.settings.data.resolve(), deployer.options

    def ours(option: str) -> bool:
        return (data / str(options.get(option, ""))).resolve().is_relative_to(data)

    if deployer.kind == "command" and ours("records") and not options.get("fences", False):
        return Check(name=f"{region} records", state="warn", message=_APART, fix=f"{region} {_SHARE}")
    if deployer.kind == "process" and ours("directory"):
        fix = f"{region} {_ONE_WORLD}"
        return Check(name=f"{region} directory", state="warn", message=_TWO_WORLDS, fix=fix)
    return None


def _database(session: Session) -> Check:
    url = session.settings.database_url
    if url.startswith(_FILE) and not Path(url.removeprefix(_FILE)).exists():
        if session.settings.known_good.exists():
            said = f"there is none at {url}, and {session.settings.known_good} shows that there was one"
            fix = f"put a backup back: rollout db restore FILE; {WITHOUT_DATABASE}"
            return Check(name="database", state="fail", message=said, fix=fix)
        said = f"there is none at {url} yet; the first rollout serve makes it"
        return Check(name="database", state="skip", message=said)
    try:
        database = open_database(url)
        try:
            present, newest = versions(database)
            newer = (present or "") > (newest or "")  # revisions are numbers of four digits
            fits = present == newest or (newer and may_write(database))
            database.prove_writable()
        finally:
            database.close()
    except RolloutError as error:
        return Check(name="database", state="fail", message=str(error), fix=f"{_room(url)}{WITHOUT_DATABASE}")
    said = f"{database.name}: schema {present}, {database.about}"
    if not fits:
        fix = "install the newer version of this program, which wrote it" if newer else "rollout db upgrade"
        return Check(name="database", state="fail", message=f"{said}; this program needs {newest}", fix=fix)
    if newer:
        said += f", newer than the {newest} of this program, which may write it"
    return Check(name="database", state="pass", message=said)


def _room(url: str) -> str:
    """What to do first when the database's disk is full, which SQLite often calls an I/O error."""
    path = Path(url.removeprefix(_FILE)).parent
    free = shutil.disk_usage(path).free if url.startswith(_FILE) and path.exists() else ROOM
    return f"free space on the disk of {path}: {free:,} bytes are left; " if free < ROOM else ""


def _server(session: Session) -> tuple[Declared | None, list[Check]]:
    """Ask the server: its readiness, its clock, the token, and which services are declared, if it says."""
    try:
        ready = session.remote.get("/readyz")
    except InvalidInput as error:
        fix = "make one: rollout token create NAME --role admin --local"
        return None, [Check(name="token", state="fail", message=str(error), fix=fix)]
    except Failure as failure:
        skip = [Check(name=name, state="skip", message="no server to ask it") for name in ("clock", "token")]
        away = failure.problem is None  # else it answered, and says itself what is wrong
        fix = "rollout serve, or name another server with ROLLOUT_URL" if away else "see the server's log"
        return None, [Check(name="server", state="fail", message=failure.message, fix=fix), *skip]
    said = f"{session.remote.url}: {ready.body['detail']}"
    services, token = _token(session)
    return services, [
        Check(name="server", state="pass", message=said),
        _clock(session.world.clock, ready.date),
        token,
    ]


def _clock(clock: Clock, date: str) -> Check:
    if not date:
        return Check(name="clock", state="skip", message="the server does not say its time")
    skew = (clock.now() - parsedate_to_datetime(date)).total_seconds()
    said = f"{clock.now():%Y-%m-%d %H:%M:%S} UTC, {abs(skew):.0f} s from the server's"
    if abs(skew) > SKEW_S:
        return Check(name="clock", state="fail", message=said, fix="set both machines by NTP")
    return Check(name="clock", state="pass", message=said)


def _token(session: Session) -> tuple[Declared | None, Check]:
    try:
        who = session.remote.get("/v1/whoami").body["token"]
        listed = session.remote.get("/v1/services").body["items"]
    except Failure as error:
        fix = "set ROLLOUT_TOKEN_FILE, or make one here: rollout token create NAME --role admin --local"
        return None, Check(name="token", state="fail", message=str(error), fix=fix)
    said = f"{who['name']} is {who['role']}"
    declared = {service["name"]: tuple(service["regions"]) for service in listed}
    return declared, Check(name="token", state="pass", message=said)


def _doubts(session: Session, service: str) -> list[Check]:
    """Where nothing is ordered since the database was put back."""
    try:
        items = session.remote.get(f"/v1/services/{quote(service, safe='')}/regions").body["items"]
    except (Failure, RolloutError):
        return []  # the line about its signals says so
    fix = (
        f"docs/data.md: end what is under way there, then rollout adopt {service} --region REGION; where two "
        f"versions run, instead: rollout emergency restore {service} --region REGION --even-so"
    )
    return [
        Check(name=f"{item['region']} of {service}", state="fail", message=said, fix=fix)
        for item in items
        for said in item["problems"]
        if said.startswith("In doubt")
    ]


def _signals(session: Session, service: str) -> list[Check]:
    """One line for each region: what the sources find of each signal, as the server sees it."""
    name = f"{service} signals"
    try:
        items = session.remote.get(f"/v1/services/{quote(service, safe='')}/signals").body["items"]
    except (Failure, RolloutError) as error:
        return [Check(name=name, state="skip", message=f"the server did not look: {error}")]
    regions = dict.fromkeys(str(item["region"]) for item in items)
    return [_found(service, region, [one for one in items if one["region"] == region]) for region in regions]


def _found(service: str, region: str, items: list[dict[str, Any]]) -> Check:
    name = f"{region} signals of {service}"
    lacking = [item for item in items if not item["series"]]
    said = "; ".join(_signal(item) for item in (lacking or items))
    if not lacking:
        return Check(name=name, state="pass", message=said)
    if not any(item["said"] for item in items):
        return Check(name=name, state="skip", message=_NOTHING)
    well = len(items) - len(lacking)
    fix = f"policies/signals.yaml, under {items[0]['source']}:, or the source's options in regions.yaml"
    return Check(name=name, state="fail", message=f"{well} of {len(items)} are found; {said}", fix=fix)


def _signal(item: dict[str, Any]) -> str:
    """`errors: 4 series of 1.0 (2), 1.1 (2), newest 12 s ago`, or what is near."""
    if not item["series"]:
        return f"{item['signal']}: {str(item['said']).rstrip('.') or 'no series'}"
    versions = ", ".join(f"{version} ({count})" for version, count in item["versions"].items())
    age = "" if item["age_s"] is None else f", newest {item['age_s']:.0f} s ago"
    said = f" ({item['said']})" if item["said"] else ""
    return f"{item['signal']}: {item['series']} series of {versions}{age}{said}"


def _drawn(check: Check) -> Text:
    sign, style = _SIGNS[check.state]
    fix = f"  → {check.fix}" if check.fix else ""
    return Text.assemble((f"{sign} ", style), (f"{check.name:<22} ", "bold"), check.message + fix)
