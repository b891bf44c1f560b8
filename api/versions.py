"""ETag, If-Match and If-None-Match: the row version that a client looked at."""

import re

from fastapi import Request

from api.errors import PreconditionRequired
from rollout.core.errors import InvalidInput, Problem, StaleWrite

_TAG = re.compile(r'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"')


def etag(row_version: int) -> str:
    """Write a row version as a strong entity tag."""
    return f'"{row_version}"'


def seen(request: Request, row_version: int) -> int | None:
    """The row version that If-Match names, or None when it names none: no header, or `*`.

    Raises StaleWrite when it names others only, and InvalidInput when it cannot be read. A weak tag fits
    nothing here, since If-Match compares strongly; 0 is what does not exist yet, which `*` does not fit.
    """
    tags = _tags(request, "if-match")
    if not tags or (row_version and tags == {"*"}):
        return None
    if etag(row_version) in tags:
        return row_version
    shown = ", ".join(sorted(tags))
    raise StaleWrite(
        f"You looked at version {shown}, and it is at {etag(row_version)} now. "
        "Read it again and decide again."
    )


def refuse_stale(request: Request, row_version: int) -> None:
    """Raise as `seen` does."""
    seen(request, row_version)


def refuse_unseen(request: Request) -> None:
    """Raise PreconditionRequired when the client does not say what it looked at; `*` says nothing."""
    if not _tags(request, "if-match") - {"*"}:
        raise PreconditionRequired(
            "This decision needs `If-Match` with the ETag of what you looked at: read it, then decide."
        )


def unchanged(request: Request, row_version: int) -> bool:
    """Whether If-None-Match says that the client has this version already. Raises InvalidInput."""
    tags = _tags(request, "if-none-match")
    return "*" in tags or etag(row_version) in {tag.removeprefix("W/") for tag in tags}


def _tags(request: Request, name: str) -> set[str]:
    """The entity tags of a header, none when it was not sent. Raises InvalidInput."""
    sent = ",".join(request.headers.getlist(name))
    tags = {tag.strip() for tag in sent.split(",") if tag.strip()}
    wrong = sorted(tag for tag in tags if tag != "*" and not _TAG.fullmatch(tag))
    if wrong or (name in request.headers and not tags):
        mend = 'write the ETag as it came, in double quotes, such as "7"; several are parted by commas'
        raise InvalidInput(f"The header {name} cannot be read.", (Problem(name, mend),))
    return tags
