"""Verbs that judge what was recorded, without a server: judge one release, backtest a policy on many."""

import asyncio
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal, cast

import httpx
import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from rollout.cli import render_judging
from rollout.cli.exits import Exit
from rollout.cli.session import Session
from rollout.config import Configuration, load_configuration, parse_policy
from rollout.core.errors import InvalidInput, OutsideError, Problem
from rollout.core.policy import Policy
from rollout.offline import views
from rollout.offline.backtest import Result, Rules, judge_all, judge_file, judge_release, tried
from rollout.offline.past import remembered
from rollout.offline.releases import PastRelease, parse_time, read_releases
from rollout.offline.score import score
from rollout.offline.survey import survey
from rollout.ports import HistorySource
from rollout.registry import SOURCES, Surroundings

MAX_BYTES = 1_000_000  # of a policy
RELEASES = "releases.csv"
ENDS: Mapping[str, Exit] = {
    "promoted": Exit.SUCCEEDED,
    "rolled_back": Exit.ROLLED_BACK,
    "held": Exit.HELD,
    "unfinished": Exit.STILL_RUNNING,
}
PolicyName = Annotated[str, typer.Option("--policy", help="A policy file, or a policy's name.", metavar="P")]
Config = Annotated[
    Path | None, typer.Option(help="Directory with regions.yaml and policies/.", metavar="DIR")
]
Deploys = Annotated[
    list[str] | None,
    typer.Option("--deploy", help="When a region was deployed; once for each.", metavar="REGION=TIME"),
]
ServiceName = Annotated[str | None, typer.Option(help="What was deployed.", metavar="NAME")]
Plots = Annotated[
    Path | None, typer.Option(help="Directory for one SVG per check and region.", metavar="DIR")
]
Source = Annotated[
    Literal["file", "prometheus"],
    typer.Option(help="Read samples files, or the history of the regions' sources."),
]


def judge(
    session: Session,
    policy: PolicyName,
    deploy: Deploys = None,
    samples: Annotated[Path | None, typer.Option(help="A samples file.", metavar="FILE")] = None,
    service: ServiceName = None,
    candidate: Annotated[str | None, typer.Option(help="The version judged; else the one that came.")] = None,
    baseline: Annotated[str | None, typer.Option(help="The version it is compared with.")] = None,
    until: Annotated[str | None, typer.Option(help="Judge nothing after this time.", metavar="TIME")] = None,
    source: Source = "file",
    plots: Plots = None,
    config: Config = None,
) -> Exit | None:
    """Judge one recorded release: what would have been said, and done, when and why. Needs no server."""
    rules = _rules(session, policy, config, plots, every_plot=True)
    if (source == "file") is (samples is None):
        raise InvalidInput("Give either --samples FILE, or --source prometheus with --service NAME.")
    release = PastRelease(
        file=str(samples or ""),
        service=service or (samples.name.split(".")[0] if samples else ""),
        version=candidate or "",
        deploys=_deploys(deploy),
        ended_at=_time("--until", until) if until else None,
    )
    named = {"candidate": candidate, "baseline": baseline}
    if samples is None:
        result = asyncio.run(_remembered(session, rules, [_with_service(release)], **named))[0]
        if result.problem:
            raise InvalidInput(result.problem)
    else:
        with _bar(session, f"judging {samples.name}") as told:
            result = judge_file(rules, release, samples, told, **named)
    view = views.judged(result)
    session.show(view, render_judging.judged)
    return ENDS[view["outcome"]]


def backtest(
    session: Session,
    policy: PolicyName,
    samples: Annotated[
        Path | None, typer.Option(help="Directory with a samples file for each release.", metavar="DIR")
    ] = None,
    labels: Annotated[
        Path | None, typer.Option(help="The releases; else releases.csv in that directory.", metavar="FILE")
    ] = None,
    jobs: Annotated[
        int | None, typer.Option(min=1, max=256, help="Releases judged at once; else one per core.")
    ] = None,
    service: ServiceName = None,
    deploy: Deploys = None,
    source: Source = "file",
    plots: Plots = None,
    config: Config = None,
) -> Exit | None:
    """Judge past releases by a policy, and compare with what people knew of them. Needs no server."""
    rules = _rules(session, policy, config, plots, every_plot=False)
    if (source == "file") is (samples is None):
        raise InvalidInput("Give either --samples DIR, or --source prometheus with --labels FILE.")
    if samples is not None:
        releases = _chosen(read_releases(labels or samples / RELEASES), service)
        with _bar(session, f"judging {len(releases)} releases") as told:
            results = []
            for result in judge_all(rules, releases, samples, jobs=jobs or os.cpu_count() or 1):
                results.append(result)
                told(len(results) / len(releases))
    else:
        releases = _chosen(read_releases(labels), service) if labels else (_typed(service, deploy),)
        results = asyncio.run(_remembered(session, rules, releases))
    view = views.backtested(rules.policy.name, results, score(results))
    session.show(view, render_judging.backtested)
    return None


# ------------------------------------------------------------------ what was asked


def _rules(
    session: Session, policy: str, config: Path | None, plots: Path | None, *, every_plot: bool
) -> Rules:
    """The policy with regions and signals. A file whose checks say their kind needs no configuration."""
    directory = config or session.settings.config
    path = Path(policy)
    written = parse_policy(_read(path), path.stem, policy) if path.is_file() else None
    alone = written is not None and all(check.kind is not None for check in written.checks)
    known: Configuration | None
    try:
        known = load_configuration(directory)
    except InvalidInput:
        if config is not None or not alone:
            raise
        known = None
    if written is None:
        assert known is not None, "raised above"
        written = _by_name(known, policy)
    return Rules(
        policy=written,
        regions=known.regions if known else {},
        signals=known.signals if known else {},
        plots=plots,
        all_plots=every_plot,
    )


def _by_name(known: Configuration, policy: str) -> Policy:
    if policy not in known.policies:
        names = ", ".join(sorted(known.policies))
        raise InvalidInput(f"'{policy}' is neither a file nor a policy of {known.directory}; it has {names}.")
    return known.policies[policy].policy


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1).decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{path} cannot be read: {error}.") from error


def _deploys(written: Sequence[str] | None) -> dict[str, datetime]:
    found: dict[str, datetime] = {}
    for text in written or ():
        region, equals, time = text.partition("=")
        if not region or not equals or region in found:
            wrong = (
                "is there twice" if region in found else "is not REGION=TIME, such as R3=2026-11-21T18:20:00Z"
            )
            raise InvalidInput("A deploy cannot be used.", (Problem("--deploy", f"'{text}' {wrong}"),))
        found[region] = _time("--deploy", time)
    if not found:
        raise InvalidInput("Say when each region was deployed: --deploy R3=2026-11-21T18:20:00Z")
    return found


def _time(flag: str, text: str) -> datetime:
    try:
        return parse_time(text)
    except ValueError as error:
        raise InvalidInput("A time cannot be used.", (Problem(flag, str(error)),)) from error


def _typed(service: str | None, deploy: Sequence[str] | None) -> PastRelease:
    return _with_service(PastRelease(file="", service=service or "", version="", deploys=_deploys(deploy)))


def _with_service(release: PastRelease) -> PastRelease:
    if not release.service:
        raise InvalidInput("A source is asked for a service; say --service NAME.")
    return release


def _chosen(releases: Sequence[PastRelease], service: str | None) -> Sequence[PastRelease]:
    chosen = [release for release in releases if service in (None, release.service)]
    if not chosen:
        names = ", ".join(sorted({release.service for release in releases}))
        raise InvalidInput(f"No release of '{service}' is listed; there are some of {names}.")
    return chosen


# ------------------------------------------------------------------ live history


async def _remembered(
    session: Session,
    rules: Rules,
    releases: Sequence[PastRelease],
    candidate: str | None = None,
    baseline: str | None = None,
) -> list[Result]:
    """Each release out of what the regions' sources remember of it."""
    from rollout.http import client  # noqa: PLC0415  # only a live source needs the network

    results = []
    async with client() as http:
        sources = _sources(session, rules, http)
        with _bar(session, f"asking for {len(releases)} releases") as told:
            for count, release in enumerate(releases, start=1):
                results.append(await _one(session, rules, sources, release, candidate, baseline))
                told(count / len(releases))
    return results


async def _one(
    session: Session,
    rules: Rules,
    sources: Mapping[str, HistorySource],
    release: PastRelease,
    candidate: str | None,
    baseline: str | None,
) -> Result:
    try:
        recording = await remembered(
            sources,
            release,
            rules.policy,
            regions=rules.regions,
            signals=rules.signals,
            now=session.world.clock.now(),
        )
    except (InvalidInput, OutsideError) as error:
        return Result(release=release, problem=" ".join(str(error).split()))
    found = survey(recording)
    return tried(
        release,
        lambda: judge_release(rules, release, recording, found, candidate=candidate, baseline=baseline),
    )


def _sources(session: Session, rules: Rules, http: httpx.AsyncClient) -> dict[str, HistorySource]:
    """The sources that keep a history, by region."""
    found = {}
    for region in rules.regions.values():
        around = Surroundings(
            region=region.name, http=http, clock=session.world.clock, directory=session.settings.data
        )
        source = SOURCES.build(region.source.kind, region.source.options, around)
        if hasattr(source, "history"):
            found[region.name] = cast("HistorySource", source)
    return found


@contextmanager
def _bar(session: Session, title: str) -> Iterator[Callable[[float], None]]:
    """A progress bar on a terminal, silence elsewhere. What it gives takes the part that is done, 0..1."""
    shown = session.err.is_terminal and not session.json
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f} %"))
    with Progress(
        *columns, TimeRemainingColumn(), console=session.err, disable=not shown, transient=True
    ) as bar:
        task = bar.add_task(title, total=1.0)
        yield lambda part: bar.update(task, completed=part)
