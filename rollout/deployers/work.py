"""Stalled work as a service or a target tells of it: shapes of find_stalled and resume_work, and their check.

Nothing here asks anybody; see rollout/core/model.py for what the two actions mean.
"""

from typing import Annotated, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from rollout.core.errors import PermanentError

LISTED = 10_000  # items that one answer may hold
COUNTED = 2**53  # above it a JSON number is no count


class Answer(BaseModel):
    """What somebody outside says: only these fields are believed, and nothing is converted."""

    model_config = ConfigDict(frozen=True, strict=True, allow_inf_nan=False)


Count = Annotated[int, Field(ge=0, le=COUNTED)]
Age = Annotated[float, Field(ge=0)]
A = TypeVar("A", bound=Answer)


class StalledItem(Answer):
    """A work item that nobody is finishing; `version` is that of the process that began it."""

    id: Annotated[str, Field(min_length=1, max_length=200)]
    age_s: Age
    version: Annotated[str, Field(max_length=200)] = ""


class StalledWork(Answer):
    """The items, and all that is unfinished."""

    items: Annotated[list[StalledItem], Field(max_length=LISTED)]
    backlog: Count
    oldest_age_s: Age


class ResumedWork(Answer):
    """How many items were put back, and how many needed it no more."""

    resumed: Count
    already: Count


def believed(found: object, path: str, kind: type[A], mend: str = "correct the service") -> A:
    """What was answered at `path`, checked. Raises PermanentError naming the first wrong thing."""
    try:
        return kind.model_validate(found)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "the answer"
        raise PermanentError(
            f"{path} answered what cannot be believed: {place}: {first['msg']}. It must give "
            f"{', '.join(kind.model_fields)}; {mend}."
        ) from error
