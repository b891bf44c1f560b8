"""Pages of lists: the cursor of a short list, and the link to what comes next."""

from collections.abc import Callable, Sequence
from typing import Annotated, TypeVar

from fastapi import Depends, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from api.schemas import Listing
from rollout.core.errors import NotFound

T = TypeVar("T")


class Page(BaseModel):
    """Which part of a list: `limit` entries after the one that `cursor` names."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    limit: Annotated[int, Field(ge=1, le=1000)] = 200
    cursor: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.:@+/{}=-]{1,300}$")] | None = None


class Lists:
    """Answers a page of a list that is short enough to be read whole."""

    def __init__(self, wanted: Annotated[Page, Query()], request: Request, response: Response) -> None:
        self._wanted, self._request, self._response = wanted, request, response

    def page(self, items: Sequence[T], key: Callable[[T], str]) -> Listing[T]:
        """The wanted part; `key` is what a cursor names. Raises NotFound for a cursor that names nothing."""
        begin = self._begin([key(item) for item in items])
        kept = items[begin : begin + self._wanted.limit]
        more = begin + len(kept) < len(items)
        cursor = key(kept[-1]) if more else None
        link_next(self._request, self._response, "cursor", cursor)
        return Listing(items=tuple(kept), next_cursor=cursor)

    def _begin(self, keys: Sequence[str]) -> int:
        cursor = self._wanted.cursor
        if cursor is None:
            return 0
        if cursor not in keys:
            raise NotFound("place", cursor, "The cursor is of another list, or what it names is gone.")
        return keys.index(cursor) + 1


ListsDep = Annotated[Lists, Depends()]


def link_next(request: Request, response: Response, name: str, cursor: str | None) -> None:
    """Name the next page in the header Link, by its path, since a proxy may have changed the host."""
    if cursor is not None:
        url = request.url.include_query_params(**{name: cursor})
        response.headers["link"] = f'<{url.path}?{url.query}>; rel="next"'
