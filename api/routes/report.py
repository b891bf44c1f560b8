"""The report of one rollout, as JSON or as Markdown."""

from typing import Annotated, Any

from fastapi import Header, Response

from api.deps import ReadsDep, requires
from api.reads import Reads
from api.routing import v1
from api.schemas import RolloutId
from rollout.access import Permission
from rollout.showing.report import Report, build, markdown
from rollout.showing.views import EventView

router = v1("rollouts")
READ = [requires(Permission.READ)]
MARKDOWN = "text/markdown"
PAGE, MOST = 1000, 10_000  # rows of history; a rollout has tens
_WRITTEN: dict[int | str, dict[str, Any]] = {200: {"content": {MARKDOWN: {"schema": {"type": "string"}}}}}


@router.get("/rollouts/{id}/report", dependencies=READ, response_model=Report, responses=_WRITTEN)
async def report(
    id: RolloutId,  # noqa: A002  # the path's word
    reads: ReadsDep,
    accept: Annotated[str, Header(include_in_schema=False)] = "",
) -> object:
    """Report what happened, why, who was reached and how long it took; Markdown where Accept prefers it."""
    found = await _report(reads, id)
    return _markdown(found) if _prefers_markdown(accept) else found


@router.get("/rollouts/{id}/report.json", dependencies=READ)
async def report_json(id: RolloutId, reads: ReadsDep) -> Report:  # noqa: A002  # the path's word
    """Report as JSON, whatever Accept says."""
    return await _report(reads, id)


@router.get("/rollouts/{id}/report.md", dependencies=READ, response_class=Response, responses=_WRITTEN)
async def report_md(id: RolloutId, reads: ReadsDep) -> Response:  # noqa: A002  # the path's word
    """Report as Markdown, whatever Accept says."""
    return _markdown(await _report(reads, id))


async def _report(reads: Reads, rollout_id: str) -> Report:
    view = await reads.rollout(rollout_id)
    events: list[EventView] = []
    after, more = 0, True
    while more and len(events) < MOST:
        found, after, more = await reads.events(rollout_id=view.id, after=after, limit=PAGE)
        events += found
    return build(view, events)


def _markdown(found: Report) -> Response:
    return Response(markdown(found), media_type=f"{MARKDOWN}; charset=utf-8")


def _prefers_markdown(accept: str) -> bool:
    """Whether Markdown comes before JSON in Accept; with neither, JSON it is."""
    ranked = {kind: _weight(accept, kind) for kind in (MARKDOWN, "application/json")}
    return ranked[MARKDOWN] > ranked["application/json"]


def _weight(accept: str, kind: str) -> float:
    """The q of `kind` itself; a wildcard does not ask for anything."""
    for part in accept.split(","):
        name, *parameters = (each.strip() for each in part.split(";"))
        if name.lower() == kind:
            given = next((each.removeprefix("q=") for each in parameters if each.startswith("q=")), "1")
            return float(given) if given.replace(".", "", 1).isdigit() else 0.0
    return 0.0
