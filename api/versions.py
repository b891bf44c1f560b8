"""ETag, If-Match and If-None-Match: the row version that a client looked at."""

from fastapi import Request

from api.errors import PreconditionRequired
from rollout.core.errors import StaleWrite


def etag(row_version: int) -> str:
    """Write a row version as a strong entity tag."""
    return f'"{row_version}"'


def refuse_stale(request: Request, row_version: int) -> None:
    """Raise StaleWrite when If-Match was sent and names another version; 0 is what does not exist yet."""
    sent = request.headers.get("if-match")
    if sent is None or (row_version and "*" in _tags(sent)) or etag(row_version) in _tags(sent):
        return
    raise StaleWrite(
        f"You looked at version {sent}, and it is at {etag(row_version)} now. Read it again and decide again."
    )


def refuse_unseen(request: Request) -> None:
    """Raise PreconditionRequired when the client does not say what it looked at."""
    if "if-match" not in request.headers:
        raise PreconditionRequired(
            "Approving needs `If-Match` with the ETag of what you looked at: read the rollout, then approve."
        )


def unchanged(request: Request, row_version: int) -> bool:
    """Whether If-None-Match says that the client has this version already."""
    tags = _tags(request.headers.get("if-none-match", ""))
    return "*" in tags or etag(row_version) in {tag.removeprefix("W/") for tag in tags}


def _tags(header: str) -> set[str]:
    return {tag.strip() for tag in header.split(",")}
