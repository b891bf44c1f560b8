"""What the deployer `haproxy` was last ordered, in a file for each service; haproxy itself remembers nothing.

It is the fence of generations and the truth to which weights are brought back when haproxy has restarted.
"""

from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from rollout.core.actions import Action
from rollout.core.errors import PermanentError, TransientError
from rollout.core.model import Kind
from rollout.supervisor import files

REMEMBERED = 64  # keys of earlier orders


class Part(BaseModel):
    """What a server was given, and the version that it ran then."""

    model_config = ConfigDict(frozen=True)

    version: str
    weight: int


class Wanted(BaseModel):
    """The newest order, the weights that followed from it, and in which start of haproxy they were set."""

    model_config = ConfigDict(frozen=True)

    key: str
    generation: int
    version: str
    from_version: str | None
    weight: int
    servers: dict[str, Part] = Field(default_factory=dict)
    start: str = ""
    seen: tuple[str, ...] = ()

    @property
    def weights(self) -> dict[str, int]:
        """Each server's weight."""
        return {name: part.weight for name, part in self.servers.items()}


@dataclass(frozen=True, slots=True)
class Memory:
    """The files of one region."""

    directory: Path
    region: str

    def read(self, service: str) -> Wanted | None:
        """The newest order; None before the first one. Raises PermanentError for a damaged file."""
        try:
            return files.read(self._path(service), Wanted)
        except OSError as error:
            raise TransientError(f"{self._path(service)} cannot be read: {error.strerror}.") from error
        except ValueError as error:
            raise PermanentError(
                f"{error}. Remove it: the next order writes it anew, and until then restarts of haproxy are "
                "not noticed and older orders not refused."
            ) from error

    def write(self, service: str, wanted: Wanted) -> None:
        """Keep an order before anything is done for it."""
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            files.write(self._path(service), wanted)
        except OSError as error:
            raise TransientError(f"{self._path(service)} cannot be written: {error.strerror}.") from error

    def begin(self, service: str, key: str, action: Action) -> Wanted:
        """Keep a new order; what was set before holds until it is changed. Refuses one that was overtaken."""
        before = self._before(service, action)
        if before is not None and before.key == key:
            return before
        if before is not None and action.generation < before.generation:
            raise PermanentError(
                f"Generation {action.generation} of {key} is lower than {before.generation} of {before.key}: "
                "a newer decision was taken for this region."
            )
        if before is not None and key in before.seen:
            raise PermanentError(f"{key} was done before and overtaken by {before.key}.")
        wanted = Wanted(
            key=key,
            generation=action.generation,
            version=action.version,
            from_version=action.from_version,
            weight=action.weight,
            servers=before.servers if before else {},
            start=before.start if before else "",
            seen=(*before.seen, before.key)[-REMEMBERED:] if before else (),
        )
        self.write(service, wanted)
        return wanted

    def _before(self, service: str, action: Action) -> Wanted | None:
        """The order before this one. A damaged file stops no way back."""
        try:
            return self.read(service)
        except PermanentError:
            if action.kind is Kind.RESTORE:
                return None
            raise

    def _path(self, service: str) -> Path:
        return self.directory / f"{self.region}.{service}.json"
