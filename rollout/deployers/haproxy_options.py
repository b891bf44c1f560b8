"""What regions.yaml may say to the deployer `haproxy`."""

from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from rollout.core.policy import Name
from rollout.registry import Options

HaproxyName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.:-]{1,127}$")]


class ThroughOptions(Options):
    """The deployer that starts versions in this region."""

    kind: str
    options: dict[str, Any] = Field(default_factory=dict)


class VersionAt(Options):
    """Where a server says its version: a path that answers JSON, and the field; an empty one: plain text."""

    path: Annotated[str, Field(pattern="^/")]
    field: str = "version"


class BackendOptions(Options):
    """The backend of one service, and how it is known which version each of its servers runs.

    With `through`, `server` makes the name of an instance's server, which follows its address if `follow`.
    """

    backend: HaproxyName
    server: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.:-]*\{id\}[A-Za-z0-9_.:-]*$")] = "{id}"
    follow: bool = False
    servers: dict[HaproxyName, str] = Field(default_factory=dict)
    version_at: VersionAt | None = None


class HaproxyOptions(Options):
    """`socket` is a path, or host:port; one answer has to come within `timeout_s`."""

    socket: Annotated[str, Field(pattern=r"^(.*/.*|[^/\s]+:\d{1,5})$")]
    services: Annotated[dict[Name, BackendOptions], Field(min_length=1)]
    through: ThroughOptions | None = None
    timeout_s: Annotated[float, Field(gt=0, le=10)] = 2.0

    @model_validator(mode="after")
    def _one_way_to_know(self) -> Self:
        for name, spot in self.services.items():
            ways = (self.through is not None) + bool(spot.servers) + (spot.version_at is not None)
            if ways != 1:
                raise ValueError(
                    f"services.{name}: say in one way which version a server runs: `through` beside the "
                    f"services, or `servers`, or `version_at`; {ways} are given"
                )
        return self

    def inner(self) -> tuple[tuple[str, str, Mapping[str, Any]], ...]:
        """`through` is checked when the file is read."""
        return (("through", self.through.kind, self.through.options),) if self.through else ()
