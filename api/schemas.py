"""What clients send (unknown keys, wrong types and control characters are refused), and list answers."""

import json
from typing import Annotated, Any, Generic, Literal, TypeVar
from urllib.parse import urlsplit

from fastapi import Header, Path
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, model_validator

from rollout.access import NAME_PATTERN
from rollout.commands import StartRequest
from rollout.core.model import CONTROLLER, Phase, Release, Service
from rollout.core.policy import Duration, Name, SignalName
from rollout.ports import Token

T = TypeVar("T")
_SIGNALS_BYTES = 20_000


def _readable(text: str) -> str:
    """Refuse what could drive a terminal, or hide in one."""
    strange = next((c for c in text if not c.isprintable() and c not in "\n\t"), None)
    if strange is not None:
        raise ValueError(f"holds the character U+{ord(strange):04X}, which cannot be shown; take it away")
    return text


def _link(url: str) -> str:
    """Only what a browser may follow: http and https with a host."""
    try:
        parts = urlsplit(url)
        fits = parts.scheme in ("http", "https") and bool(parts.hostname) and "\\" not in url
    except ValueError:
        fits = False
    if not fits or not url.isprintable() or " " in url:
        raise ValueError("must be a link that begins with http:// or https://")
    return url


def _person(name: str) -> str:
    if name == CONTROLLER:
        raise ValueError(f"'{CONTROLLER}' is the name of the controller itself; take another one")
    return name


def _storable(signals: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    try:
        size = len(json.dumps(signals, allow_nan=False, ensure_ascii=False).encode())
    except (ValueError, RecursionError) as error:
        raise ValueError("holds a number that is not finite, half a character, or is too deep") from error
    if size > _SIGNALS_BYTES:
        raise ValueError(f"has {size} bytes of JSON, and may have {_SIGNALS_BYTES}")
    return signals


Sentence = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=500),
    AfterValidator(_readable),
]
Label = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=100),
    AfterValidator(_readable),
]
Reference = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=500, pattern=r"^\S+$"),
    AfterValidator(_readable),
]
Version = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]{0,127}$")]
RegionName = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9-]{0,62}$")]
TokenName = Annotated[str, Field(pattern=NAME_PATTERN), AfterValidator(_person)]
Link = Annotated[str, Field(max_length=1000), AfterValidator(_link)]
RolloutId = Annotated[str, Path(pattern=r"^[A-Za-z0-9_]{1,40}$", description="An id, or its unique prefix.")]
ApprovalId = Annotated[str, Path(pattern=r"^[A-Za-z0-9_-]{1,80}$")]
GateName = Annotated[str, Path(pattern=r"^[a-z][a-z0-9-]{0,62}$")]
ServiceName = Annotated[str, Path(pattern=r"^[a-z][a-z0-9-]{0,62}$")]


LastEventId = Annotated[
    int | None,
    Header(ge=0, lt=2**53, description="Of a stream: the `id` of the last event that was received."),
]


class Body(BaseModel):
    """What is sent: nothing is guessed, converted or ignored."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class StartBody(Body):
    """A release to move. `override` is the reason to start a version that was rolled back before (admin)."""

    service: Name
    version: Version
    artifact: Reference | None = None
    lock_digest: Reference | None = None
    change_url: Link | None = None
    author: Label | None = None
    policy: Name | None = None
    note: Annotated[str, Field(max_length=2000), AfterValidator(_readable)] = ""
    override: Annotated[str, Field(max_length=500), AfterValidator(_readable)] = ""

    def request(self) -> StartRequest:
        """Make the command's noun."""
        release = Release(**self.model_dump(exclude={"policy", "note", "override"}))
        return StartRequest(
            release=release, policy=self.policy, note=self.note, override=self.override.strip()
        )


class ActBody(Body):
    """Why; it stands in the history."""

    reason: Sentence


class PromoteBody(ActBody):
    """Whose bake ends: one region's, or every one that is under way."""

    region: RegionName | None = None


class NoteBody(Body):
    """A remark for the timeline."""

    text: Annotated[
        str,
        StringConstraints(strip_whitespace=True, min_length=1, max_length=2000),
        AfterValidator(_readable),
    ]


class GateBody(Body):
    """A result that a pipeline reports; `region` says for which stage, else it is for the present one."""

    status: Literal["passed", "failed"]
    region: RegionName | None = None
    url: Link | None = None
    message: Annotated[str, Field(max_length=500), AfterValidator(_readable)] = ""


class HoldBody(ActBody):
    """How long, as `for: 15m` or `for_s: 900`, and what then; without either until somebody resumes it."""

    for_: Duration | None = Field(default=None, alias="for")
    for_s: Annotated[int, Field(ge=1, le=90 * 86400)] | None = None
    then: Literal["hold", "resume"] = "hold"

    @model_validator(mode="after")
    def _one_length(self) -> "HoldBody":
        if self.for_ is not None and self.for_s is not None:
            raise ValueError("give `for` or `for_s`, not both")
        return self

    @property
    def seconds(self) -> float | None:
        """How long, however it was written."""
        return self.for_ if self.for_ is not None else self.for_s


class ApprovalBody(ActBody):
    """An answer to an approval."""

    decision: Literal["approve", "reject"]


class ServiceBody(Body):
    """A service's declaration; the whole of it. No regions means all of them."""

    policy: Name
    owners: Annotated[list[Label], Field(max_length=20)] = []
    regions: Annotated[list[RegionName], Field(max_length=100)] = []
    signals: Annotated[dict[SignalName, dict[str, Any]], Field(max_length=50), AfterValidator(_storable)] = {}

    def service(self, name: str, row_version: int) -> Service:
        """Make the noun that replaces version `row_version`."""
        return Service(
            name=name,
            policy=self.policy,
            owners=tuple(self.owners),
            regions=tuple(dict.fromkeys(self.regions)),
            signals=self.signals,
            version=row_version,
        )


class AdoptBody(ActBody):
    """Call what runs known good, in some regions or in all; `override` is why, if it was rolled back."""

    regions: Annotated[list[RegionName], Field(max_length=100)] = []
    override: Annotated[str, Field(max_length=500), AfterValidator(_readable)] = ""


class PolicyText(Body):
    """A policy as it would stand in its file."""

    text: Annotated[str, Field(min_length=1)]


class TokenBody(Body):
    """A token to create. No services means all of them."""

    name: TokenName
    role: Literal["viewer", "deployer", "approver", "admin"]
    groups: Annotated[list[Name], Field(max_length=20)] = []
    services: Annotated[list[Name], Field(max_length=100)] = []
    days: Annotated[int, Field(ge=1, le=90)] = 90


class RolloutFilter(BaseModel):
    """Which rollouts to list; `phase` may be given more than once."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    service: Annotated[str, Field(max_length=63)] | None = None
    phase: list[Phase] = []
    needs: Literal["me"] | None = Field(default=None, description="me: only what waits for a person.")
    limit: Annotated[int, Field(ge=1, le=200)] = 50
    cursor: Annotated[str, Field(pattern=r"^[A-Za-z0-9_]{1,40}$")] | None = None


class ApprovalFilter(BaseModel):
    """Which approvals to list."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    state: Literal["pending", "approved", "rejected", "expired", "withdrawn"] | None = None
    service: Annotated[str, Field(max_length=63)] | None = None
    limit: Annotated[int, Field(ge=1, le=200)] = 50
    cursor: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,80}$")] | None = None


class EventFilter(BaseModel):
    """Which events to list: those after a place in the global sequence."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    after: Annotated[int, Field(ge=0, lt=2**53)] | None = None
    cursor: Annotated[int, Field(ge=0, lt=2**53, description="The same as `after`.")] | None = None
    limit: Annotated[int, Field(ge=1, le=1000)] = 200

    @property
    def place(self) -> int | None:
        """The place that was named, by either word."""
        return self.after if self.after is not None else self.cursor


class Listing(BaseModel, Generic[T]):
    """A list, and the cursor of its next page when there is one."""

    items: tuple[T, ...]
    next_cursor: str | None = None


class EventListing(Listing[T], Generic[T]):
    """Events; ask again with `after` = `last` to be told only what is new."""

    last: int


class CheckedPolicy(BaseModel):
    """A policy that can be used here, with the stages it makes."""

    valid: Literal[True] = True
    name: str
    stages: tuple[dict[str, Any], ...]


class CreatedToken(BaseModel):
    """A new token; `secret` is shown only here."""

    token: Token
    secret: str


class Who(BaseModel):
    """The caller, and what the token may do."""

    token: Token
    permissions: tuple[str, ...]


class ProblemBody(BaseModel):
    """RFC 9457: what every error looks like."""

    type: str
    title: str
    status: int
    detail: str
    errors: list[dict[str, str]]
    trace_id: str
