"""Verbs for when the database is gone: emergency show and restore. They need no server and no database."""

import asyncio
import getpass
import os
import shlex
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import httpx
import typer
from rich.text import Text

from rollout.cli.exits import Exit, Failure, exit_of_error
from rollout.cli.session import Session
from rollout.config import load_configuration
from rollout.core.errors import NotFound, RolloutError
from rollout.core.model import KnownGood, Plugin
from rollout.core.policy import seconds
from rollout.emergency.known_good import Known, Pair, read
from rollout.emergency.record import Record
from rollout.emergency.restoring import Restoring, Seen
from rollout.emergency.seal import Seal, read_seal
from rollout.http import blocking_client, client
from rollout.ports import Deployer, Emergency
from rollout.reconciling.outside import target_of
from rollout.registry import DEPLOYERS, Surroundings, load_plugins

_WITHIN = "10m"
ANSWER_S = 2.0  # that a controller is given to say that it is well
_ENDS = {"done": Exit.SUCCEEDED, "failed": Exit.ROLLBACK_FAILED, "begun": Exit.STILL_RUNNING}
Service = Annotated[str, typer.Argument(help="The service.", show_default=False)]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Way:
    """One region's way back: what is ordered, and how its target is reached."""

    known: Known
    pair: Pair
    good: KnownGood
    plugin: Plugin
    remark: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """What the caller said, and `again`: the whole command, ready to paste."""

    why: str
    by: str
    patience_s: float
    yes: bool
    again: str


def show(session: Session) -> Exit | None:
    """Show what this machine knows to be good where, from the signed file alone."""
    known = read(session.settings.known_good, read_seal(session.settings.known_good_key))
    told = {
        "written_at": known.written_at,
        "age_s": _age(session, known),
        "pairs": [_row(p) for p in known.pairs],
    }
    session.show(told, lambda seen: Text("\n".join(_listed(seen))))
    return None


def restore(
    session: Session,
    service: Service,
    region: Annotated[str, typer.Option(help="The region that is put back.", metavar="REGION")],
    to: Annotated[str | None, typer.Option(help="An older known good.", metavar="VERSION")] = None,
    reason: Annotated[str | None, typer.Option(help="Why; history will show it.")] = None,
    by: Annotated[str | None, typer.Option(help="Who you are; else this machine's user.")] = None,
    within: Annotated[str, typer.Option(help="How long it is tried, such as 10m.")] = _WITHIN,
    yes: Annotated[bool, typer.Option("--yes", help="Ask nothing.")] = False,
    even_so: Annotated[bool, typer.Option("--even-so", help="Also while a controller is well.")] = False,
) -> Exit | None:
    """Put one region back to its known good, without a server and without its database.

    Only for when those are gone: else use rollout rollback. The controller finds it on record later.
    """
    patience_s = _within(within)
    if not even_so:
        _refuse_while_well(session, service)
    seal = read_seal(session.settings.known_good_key)
    way = _way(session, seal, service, region, to)
    given = {"--region": region, "--to": to, "--by": by, "--within": None if within == _WITHIN else within}
    command = _command(service, given, {"--yes": yes, "--even-so": even_so})
    why = session.reason(reason, command)
    again = f"{command} --reason {shlex.quote(why)}"
    asked = _Asked(why=why, by=by or _who(), patience_s=patience_s, yes=yes, again=again)
    return asyncio.run(_restore(session, seal, way, asked))


def _command(service: str, given: Mapping[str, str | None], said: Mapping[str, bool]) -> str:
    """What was called, without its reason, ready for a shell."""
    words = [part for flag, value in given.items() if value is not None for part in (flag, value)]
    words += [flag for flag, is_said in said.items() if is_said]
    return shlex.join(["rollout", "emergency", "restore", service, *words])


async def _restore(session: Session, seal: Seal, way: _Way, asked: _Asked) -> Exit:
    record = Record(session.settings.emergencies, seal)
    async with _deployer(session, way) as deployer:
        restoring = Restoring(deployer, record, session.world.clock, session.say)
        seen = await restoring.look(way.pair)
        session.say(_plan(session, way, seen))
        if not asked.yes:
            _confirm(session, way, f"{asked.again} --yes")
        emergency = restoring.begun(way.pair, way.good, seen, asked.by, asked.why)
        until = session.world.clock.now() + timedelta(seconds=asked.patience_s)
        ended = await restoring.until_read_back(emergency, until)
    session.show(_told(ended), lambda _: Text(_said(ended)))
    if not session.json:
        session.say(_after(ended, session.settings.data, way.known, asked.again))
    return _ENDS[ended.state]


# ------------------------------------------------------------------ before


def _refuse_while_well(session: Session, service: str) -> None:
    """A controller that can work would not know of this, and has a better way: from it comes a history."""
    url = session.settings.public_url
    try:
        with blocking_client(ANSWER_S, session.world.transport) as http:
            well = http.get(f"{url}/readyz").status_code == httpx.codes.OK
    except (httpx.HTTPError, httpx.InvalidURL, OSError):
        return
    if well:
        raise Failure(
            f"The controller at {url} and its database are well, so nothing was ordered. It takes a release "
            "back in every region, and keeps the history. --even-so orders all the same.",
            Exit.USAGE,
            f"rollout rollback {service}",
        )


def _way(session: Session, seal: Seal, service: str, region: str, to: str | None) -> _Way:
    known = read(session.settings.known_good, seal)
    try:
        pair = known.pair(service, region)
        good = pair.target(to)
    except RolloutError as error:  # which says what the file knows; the usual next step asks a server
        raise Failure(str(error), exit_of_error(error), "rollout emergency show") from error
    plugin, remark = _plugin(session, known, region)
    return _Way(known=known, pair=pair, good=good, plugin=plugin, remark=remark)


def _plugin(session: Session, known: Known, region: str) -> tuple[Plugin, str]:
    """How the region is reached: as regions.yaml says, else as it was when the file was written."""
    try:
        found = load_configuration(session.settings.config).regions.get(region)
        why = f"{region} is not in regions.yaml"
    except RolloutError as error:
        found, why = None, str(error).splitlines()[0]
    if found is not None:
        return found.deployer, ""
    kept = known.deployers.get(region)
    if kept is None:
        raise NotFound("region", region, f"{why}, and the file of known goods has no deployer of it.")
    return kept, f"{why} Its deployer is taken from the file of known goods."


@asynccontextmanager
async def _deployer(session: Session, way: _Way) -> AsyncIterator[Deployer]:
    load_plugins()
    async with client() as http:
        around = Surroundings(
            region=way.pair.region, http=http, clock=session.world.clock, directory=session.settings.data
        )
        yield target_of(DEPLOYERS.build(way.plugin.kind, way.plugin.options, around))


def _confirm(session: Session, way: _Way, again: str) -> None:
    if not session.interactive:
        raise Failure(
            "Nobody can be asked here, so nothing was ordered. Say it with --yes.", Exit.USAGE, again
        )
    if session.world.prompt(f"Type {way.pair.region} to order it").strip() != way.pair.region:
        raise Failure("Nothing was ordered.", Exit.USAGE, again)


def _within(text: str) -> float:
    try:
        return float(seconds(text))
    except ValueError as error:
        raise Failure(f"--within: {error}.", Exit.USAGE, "rollout emergency restore --help") from error


def _who() -> str:
    try:
        name = os.environ.get("SUDO_USER") or getpass.getuser()
    except (KeyError, OSError):  # a user without a name
        name = f"user {os.getuid()}"
    return f"{name}@{socket.gethostname()}"


# ------------------------------------------------------------------ words


def _plan(session: Session, way: _Way, seen: Seen) -> str:
    good, pair = way.good, way.pair
    others = [one.release.version for one in pair.known_good if one.release.version != good.release.version]
    lines = [
        way.remark,
        f"{pair.service} in {pair.region} goes back to {good.release.version}",
        f"  artifact    {good.release.artifact or 'none on record; the target knows it by its version'}",
        f"  known good  {_since(good)}",
        f"  runs now    {seen.text}",
        f"  reached by  {way.plugin.kind}",
        f"  known from  {session.settings.known_good}, written {_ago(_age(session, way.known))}",
    ]
    if good.release.version in seen.running:
        alone = "" if len(seen.running) == 1 else " on a part of the instances"
        older = f" An older known good: --to {others[0]}" if others else ""
        lines.append(f"! That is what runs there already{alone}.{older}")
    return "\n".join(line for line in lines if line)


def _since(good: KnownGood) -> str:
    return f"since {good.since:%Y-%m-%d %H:%M} UTC, {good.how} by {good.by}"


def _age(session: Session, known: Known) -> float:
    now: datetime = session.world.clock.now()
    return max(0.0, (now - known.written_at).total_seconds())


def _ago(age_s: float) -> str:
    for name, size in (("days", 86400), ("hours", 3600), ("min", 60)):
        if age_s >= 2 * size:
            return f"{age_s / size:.0f} {name} ago"
    return f"{age_s:.0f} s ago"


def _said(ended: Emergency) -> str:
    where = f"{ended.service} in {ended.region}"
    counts = " + ".join(f"{n} × {v}" for v, n in sorted(ended.running.items())) or "nothing"
    if ended.state == "done":
        return f"✔ {where} was read back: {counts}. Ordered as generation {ended.generation}, {ended.key}."
    if ended.state == "failed":
        return f"✖ {where} was not restored: {ended.message}"
    return f"… {where} was not read back in time; it stays ordered, as generation {ended.generation}."


def _after(ended: Emergency, data: Path, known: Known, again: str) -> str:
    if ended.state == "begun":
        return f"Again, as the same order under the same key: {again}"
    if ended.state == "failed":
        pair, failed = known.pair(ended.service, ended.region), ended.known_good.release.version
        others = [one.release.version for one in pair.known_good if one.release.version != failed]
        to = (
            f"Another known good of the file: --to {' or '.join(others)}."
            if others
            else (f"The file knows no other known good: bring one to {ended.region} with its own tools.")
        )
        return f"Its target refuses it for good: mend what it says, then: {again}\n{to}"
    elsewhere = [p.region for p in known.pairs if p.service == ended.service and p.region != ended.region]
    other = f" {', '.join(elsewhere)} may still run the release: one call for each." if elsewhere else ""
    return (
        "It is on record here. When the database is there again, start the controller HERE, with "
        f"ROLLOUT_DATA={data}: it takes this in, holds what was under way there, and stops automatic "
        f"promotion of the service; elsewhere it is not taken in.{other}"
    )


def _told(ended: Emergency) -> dict[str, Any]:
    return {
        "service": ended.service,
        "region": ended.region,
        "version": ended.known_good.release.version,
        "artifact": ended.known_good.release.artifact,
        "state": ended.state,
        "running": dict(ended.running),
        "generation": ended.generation,
        "key": ended.key,
        "by": ended.by,
        "message": ended.message,
    }


def _row(pair: Pair) -> dict[str, Any]:
    goods = [
        {
            "version": g.release.version,
            "artifact": g.release.artifact,
            "since": g.since,
            "how": g.how,
            "by": g.by,
        }
        for g in pair.known_good
    ]
    return {
        "service": pair.service,
        "region": pair.region,
        "generation": pair.generation,
        "known_good": goods,
    }


def _listed(told: dict[str, Any]) -> list[str]:
    lines = [f"Written {_ago(told['age_s'])}, and as it was signed."]
    for row in told["pairs"]:
        goods = ", ".join(good["version"] for good in row["known_good"]) or "nothing"
        lines.append(f"{row['service']} in {row['region']}: {goods} (generation {row['generation']})")
    return lines
