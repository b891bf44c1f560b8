"""The rollout that an act is about, as the client saw it."""

from typing import Annotated

from fastapi import Depends, Request, Response

from api.deps import ReadsDep
from api.reads import Reads
from api.schemas import RolloutId
from api.versions import etag, seen
from rollout.showing.views import RolloutView


class Target:
    """A rollout by its whole id; `seen` is the row version that If-Match named, where it named one."""

    def __init__(self, rollout_id: str, seen: int | None, reads: Reads, response: Response) -> None:
        self.id, self.seen, self._reads, self._response = rollout_id, seen, reads, response

    async def shown(self) -> RolloutView:
        """Read it again after the act was recorded, with ETag and Location."""
        view = await self._reads.rollout(self.id)
        self._response.headers["etag"] = etag(view.row_version)
        self._response.headers["location"] = f"/v1/rollouts/{view.id}"
        return view

    def other(self, rollout_id: str) -> "Target":
        """Make another rollout the one that is shown."""
        return Target(rollout_id, None, self._reads, self._response)


async def _target(id: RolloutId, reads: ReadsDep, request: Request, response: Response) -> Target:  # noqa: A002  # the path's word
    view = await reads.rollout(id)
    return Target(view.id, seen(request, view.row_version), reads, response)


TargetDep = Annotated[Target, Depends(_target)]
