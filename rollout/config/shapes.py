"""What regions.yaml and policies/signals.yaml may say. A policy's shape is rollout/core/policy.py."""

import re
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from rollout.core.errors import did_you_mean
from rollout.core.model import Plugin, Region
from rollout.core.policy import Duration, SegmentName, SignalName, Strict
from rollout.core.signals import Direction, Signal, SignalKind

_PERCENT = re.compile(r"(\d{1,3}(?:\.\d{1,6})?)\s*%")


def _fraction(value: Any) -> Any:
    """`30%` → 0.3. Numbers pass through; anything else is refused with an example."""
    match = _PERCENT.fullmatch(value.strip()) if isinstance(value, str) else None
    if match:
        return float(match[1]) / 100
    if isinstance(value, (str, bool)):
        raise ValueError(f"'{value}' is not a share; write for example 30% or 0.3")
    return value


def _time_zone(value: str) -> str:
    """Refuse a name that the time-zone database does not hold."""
    try:
        ZoneInfo(value)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        hint = did_you_mean(value, available_timezones()) if value else ""
        near = hint if "did you mean" in hint else "; write for example Europe/Berlin"
        raise ValueError(f"'{value}' is not a time zone of the IANA database{near}") from None
    return value


def _regex(value: str) -> str:
    """Refuse what is no regular expression."""
    try:
        re.compile(value)
    except re.error as error:
        raise ValueError(f"'{value}' is not a regular expression: {error}") from None
    return value


RegionName = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9-]{0,62}$")]
Fraction = Annotated[
    float,
    BeforeValidator(_fraction),
    Field(gt=0, le=1, allow_inf_nan=False),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "number", "exclusiveMinimum": 0, "maximum": 1},
                {"type": "string", "pattern": r"^\d{1,3}(\.\d{1,6})?\s*%$"},
            ],
            "examples": ["30%", 0.3],
        }
    ),
]
TimeZone = Annotated[str, AfterValidator(_time_zone)]
Regex = Annotated[str, AfterValidator(_regex)]
LabelName = Annotated[str, Field(pattern=r"^[a-zA-Z_][a-zA-Z0-9_]*$", max_length=200)]


class PluginShape(Strict):
    """Which plugin serves a region, and its options; the plugin itself checks them."""

    kind: str
    options: dict[str, Any] = Field(default_factory=dict)

    def noun(self) -> Plugin:
        """Return it in the model's words."""
        return Plugin(kind=self.kind, options=self.options)


class RegionShape(Strict):
    """A place with its own users. `traffic_share` is its part of all users; the shares add up to 1."""

    name: RegionName
    title: Annotated[str, Field(min_length=1, max_length=80)]
    time_zone: TimeZone
    order: Annotated[int, Field(ge=1, le=1000)]
    traffic_share: Fraction
    deployer: PluginShape
    source: PluginShape

    def noun(self) -> Region:
        """Return it in the model's words."""
        return Region(
            name=self.name,
            title=self.title,
            time_zone=self.time_zone,
            order=self.order,
            traffic_share=self.traffic_share,
            deployer=self.deployer.noun(),
            source=self.source.noun(),
        )


class RegionsFile(Strict):
    """regions.yaml: every region with its deployer and its source."""

    api_version: Literal["rollout/v1"] = Field(alias="apiVersion")
    regions: Annotated[tuple[RegionShape, ...], Field(min_length=1)]


class SignalShape(BaseModel):
    """What one signal name means; every further key is a kind of source and says how that reads it.

    `limit`, `limit_for` and `no_data` are those of a policy's check that says nothing of its own. `segments`
    names parts of the signal, each by the labels (regular expressions) of its series.
    """

    model_config = ConfigDict(extra="allow", frozen=True)

    kind: SignalKind
    title: Annotated[str, Field(min_length=1, max_length=80)]
    unit: Annotated[str, Field(max_length=16)] = ""
    direction: Direction | None = None
    limit: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    limit_for: Duration | None = None
    no_data: Literal["hold", "ignore"] | None = None
    segments: dict[SegmentName, Annotated[dict[LabelName, Regex], Field(min_length=1)]] = Field(
        default_factory=dict
    )

    def noun(self, name: str) -> Signal:
        """Return it in the model's words. Less work done is harm; more of anything else is."""
        usual = Direction.DOWN if self.kind is SignalKind.THROUGHPUT else Direction.UP
        return Signal(
            name=name,
            kind=self.kind,
            title=self.title,
            unit=self.unit,
            direction=self.direction or usual,
            limit=self.limit,
            limit_for=self.limit_for,
            no_data=self.no_data,
            sources=self.model_extra or {},
            segments=self.segments,
        )


class SignalsFile(Strict):
    """policies/signals.yaml: what each signal name means for each kind of source."""

    api_version: Literal["rollout/v1"] = Field(alias="apiVersion")
    signals: Annotated[dict[SignalName, SignalShape], Field(min_length=1)]
