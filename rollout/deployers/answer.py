"""What a target answers to an order of the kinds `webhook` and `command`: its shape, and what it means.

The answer is JSON (docs/deployers.md). Only the fields below are believed, and nothing is converted. How an
order reaches a target is the business of each kind.
"""

import json
from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, Field, ValidationError

from rollout.core.actions import Action, ActionResult
from rollout.core.errors import PermanentError, TransientError
from rollout.core.model import Instance, Kind
from rollout.deployers.work import Answer, Count, ResumedWork, StalledWork, believed
from rollout.ports import Progress, Reply

BASIC = (Kind.DEPLOY, Kind.RESTORE, Kind.VERIFY)  # without these no rollout is possible
MOVES = frozenset({Kind.DEPLOY, Kind.RESTORE})
SHOWN = 2000  # characters of a target's message that are kept
QUOTED = 80  # characters of what cannot be read that are shown
VersionText = Annotated[str, Field(min_length=1, max_length=200)]


class ToldInstance(Answer):
    """One instance as a target lists it; `url` is where its metrics are read, empty when nowhere."""

    id: Annotated[str, Field(min_length=1, max_length=200)]
    version: VersionText
    url: Annotated[str, Field(pattern=r"^(https?://\S+)?$", max_length=2000)] = ""
    started_at: Annotated[AwareDatetime | None, Field(strict=False)] = None
    healthy: bool = True
    restarts: Count = 0


class Told(Answer):
    """A target's answer. `weight` is the percentage that the ordered version carries, where it can tell."""

    status: Literal["succeeded", "running", "failed"]
    action_id: str | None = None
    running_version: VersionText | None = None
    running: Annotated[dict[VersionText, Count] | None, Field(max_length=100)] = None
    instances: Annotated[list[ToldInstance] | None, Field(max_length=10_000)] = None
    weight: Annotated[float | None, Field(ge=0, le=100)] = None
    message: str = ""
    details: dict[str, Any] = Field(default_factory=dict)

    @property
    def counts(self) -> dict[str, int]:
        """Instances by version: as counted, else the healthy ones listed, else one of the version named."""
        if self.running is not None:
            return {version: count for version, count in self.running.items() if count}
        if self.instances is not None:
            return dict(Counter(one.version for one in self.instances if one.healthy))
        return {self.running_version: 1} if self.running_version else {}

    @property
    def says_what_runs(self) -> bool:
        """Whether it can be used as a reading."""
        return not (self.running is None and self.instances is None and self.running_version is None)


# --------------------------------------------------------------------------- the order


def order_of(key: str, action: Action) -> dict[str, Any]:
    """The order as JSON: the same fields for every target. Items of work bring a key of their own."""
    return {
        "action_id": key,
        "generation": action.generation,
        "action": action.kind.value,
        "rollout_id": rollout_of(key),
        "service": action.service,
        "region": action.region,
        "version": action.version,
        "artifact": action.artifact,
        "weight": action.weight,
        "from_version": action.from_version,
        "details": details_of(key, action),
    }


def rollout_of(key: str) -> str | None:
    """The rollout that an order belongs to; None for one outside of any rollout."""
    first = key.partition("/")[0]
    return first if first.startswith("ro_") else None


def details_of(key: str, action: Action) -> dict[str, Any]:
    """What else an order says; each item of work as {id, key}, so that it is resumed once."""
    details = dict(action.details)
    if "items" in details:
        ids = [one["id"] if isinstance(one, Mapping) else one for one in details["items"]]
        details["items"] = [{"id": item, "key": f"{key}/{item}"} for item in ids]
    return details


def reading(action: Action) -> Action:
    """The order to read back what `action` is about, before it is given."""
    return Action(
        kind=Kind.VERIFY,
        region=action.region,
        service=action.service,
        version=action.version,
        weight=action.weight,
        from_version=action.from_version,
        generation=action.generation,
    )


# --------------------------------------------------------------------------- the answer


def read_answer(content: bytes, who: str) -> Told:
    """Parse an answer of `who`.

    Raises TransientError where it is no JSON (something in between may have answered), PermanentError where
    it is JSON of another shape.
    """
    try:
        found = json.loads(content.decode("utf-8"), parse_constant=_no_number)
        json.dumps(found, ensure_ascii=False).encode("utf-8")  # half a surrogate could not be stored
    except (ValueError, RecursionError) as error:
        raise TransientError(f"{who} answered what is no JSON: {quoted(content)}.") from error
    if not isinstance(found, dict):
        raise PermanentError(f"{who} answered JSON that is no object: {quoted(content)}.")
    try:
        return Told.model_validate_json(json.dumps(found))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise PermanentError(f"{who} answered what cannot be believed: {place}: {first['msg']}.") from error


def reply_of(told: Told, key: str, action: Action, who: str) -> Reply:
    """What an answer means for the order that it answers.

    Raises TransientError for an answer to another order, PermanentError for one that lacks what it must say.
    """
    if told.action_id not in (None, key):
        raise TransientError(f"{who} answered for '{told.action_id}' where '{key}' was asked.")
    result = ActionResult(
        message=told.message[:SHOWN] or f"{who} answers {told.status}.",
        running=told.counts,
        details=told.details,
    )
    if told.status != "succeeded":
        return Reply(progress=Progress(told.status), result=result)
    _complete(told, action, who)
    if other := _another_version(told, action):
        text = f"{who} answers that it succeeded and names {other}, where {action.version} was ordered."
        return Reply(
            progress=Progress.FAILED,
            result=ActionResult(message=text, running=told.counts, details=told.details),
        )
    return Reply(progress=Progress.SUCCEEDED, result=result)


def as_ordered(told: Told, action: Action) -> bool:
    """Whether a reading shows that nothing is left to do. A share counts only where the target states it.

    Counts of instances are no proof of a share: a target may split requests instead.
    """
    if told.status != "succeeded" or set(told.counts) - {action.version, action.from_version}:
        return False
    if action.weight >= 100:
        return set(told.counts) == {action.version} and told.weight in (None, 100)
    return action.version in told.counts and told.weight == action.weight


def already(told: Told, who: str) -> Reply:
    """The reply for an order that need not be given."""
    counts = ", ".join(f"{count} × {version}" for version, count in sorted(told.counts.items()))
    text = f"{who} runs what was ordered already: {counts}. It was not asked again."
    return Reply(
        progress=Progress.SUCCEEDED,
        result=ActionResult(message=text, running=told.counts, details={**told.details, "already": True}),
    )


def instances_of(told: Told, since: Mapping[str, datetime]) -> tuple[Instance, ...]:
    """The instances that a reading lists, or as many nameless ones as it counts.

    `since` says when each version was first seen, for those of which no start is told.
    """
    if told.instances is None:
        return tuple(
            Instance(
                id=f"{version}-{number}", version=version, url="", started_at=since[version], healthy=True
            )
            for version, count in told.counts.items()
            for number in range(1, count + 1)
        )
    return tuple(
        Instance(
            id=one.id,
            version=one.version,
            url=one.url,
            started_at=one.started_at or since[one.version],
            healthy=one.healthy,
            restarts=one.restarts,
        )
        for one in told.instances
    )


class FirstSeen:
    """When each version of each service was first seen running; one that is gone is forgotten."""

    def __init__(self) -> None:
        self._known: dict[str, dict[str, datetime]] = {}

    def of(self, service: str, told: Told, now: datetime) -> Mapping[str, datetime]:
        """For every version that a reading names."""
        named = frozenset(told.counts) | {one.version for one in told.instances or ()}
        known = self._known.get(service, {})
        self._known[service] = {version: known.get(version, now) for version in named}
        return self._known[service]


def quoted(content: bytes) -> str:
    """The beginning of what cannot be read, on one line."""
    text = content[: 4 * QUOTED].decode("utf-8", errors="replace")
    line = "".join(letter if letter.isprintable() else " " for letter in text)[:QUOTED].strip()
    return f"'{line}'" if line else "nothing"


def _complete(told: Told, action: Action, who: str) -> None:
    if action.kind is Kind.VERIFY:
        if not told.says_what_runs:
            raise PermanentError(
                f"{who} answers a verify without saying what runs: give `running`, `instances` or "
                "`running_version`."
            )
        seen = told.details.get("generation", 0)
        if not isinstance(seen, int) or isinstance(seen, bool):
            raise PermanentError(f"{who} answers a verify whose details.generation is no whole number.")
    elif action.kind is Kind.FIND_STALLED:
        believed(told.details, f"{who}, details of find_stalled,", StalledWork, "correct the target")
    elif action.kind is Kind.RESUME_WORK:
        believed(told.details, f"{who}, details of resume_work,", ResumedWork, "correct the target")


def _another_version(told: Told, action: Action) -> str:
    """What a target names instead of the ordered version; empty when it does not contradict."""
    if action.kind not in MOVES:
        return ""
    if told.running_version not in (None, action.version):
        return str(told.running_version)
    if told.running is not None and action.version not in told.counts:
        return ", ".join(sorted(told.counts)) or "nothing that runs"
    return ""


def _no_number(text: str) -> float:
    raise ValueError(f"{text} is no number")
