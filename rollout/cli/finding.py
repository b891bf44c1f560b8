"""Which rollout a person means: an id, the beginning of one, or a service."""

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from rollout.cli.exits import Exit, Failure
from rollout.cli.session import Session
from rollout.client import Answer
from rollout.client.client import path
from rollout.core.model import FINISHED

_BARE_ID = re.compile(r"[0-9A-HJKMNP-TV-Z]+")  # services are lower case, so nothing can be both
_LOOKED_AT = 100  # newest rollouts of a service


def find(session: Session, ref: str, act: str = "") -> Answer:
    """One rollout with its ETag.

    For a service: its newest unfinished rollout in which `act` is possible, else its newest unfinished, else
    its newest. `rollback` means the newest that touched a region, and `retry` the newest that can be started
    again, finished or not.
    """
    if "_" in ref or _BARE_ID.fullmatch(ref):
        return session.remote.get(path(ref if "_" in ref else f"ro_{ref}"))
    listed = session.remote.get("/v1/rollouts", service=ref, limit=_LOOKED_AT).body["items"]
    if not listed:
        session.remote.get(f"/v1/services/{quote(ref, safe='')}")  # an unknown service is said as such
        raise Failure(f"{ref} has no rollout.", Exit.NOT_FOUND, f"rollout start {ref} VERSION")
    chosen = _choose(listed, act)
    session.say(f"{ref}: {chosen['id']} ({chosen['version']}, {chosen['phase'].replace('_', ' ')})")
    return session.remote.get(path(chosen["id"]))


def _choose(listed: list[Mapping[str, Any]], act: str) -> Mapping[str, Any]:
    touched = [view for view in listed if view["exposure"]["regions"]]
    if act == "rollback" and touched:
        return touched[0]
    again = [view for view in listed if act == "retry" and "retry" in view["possible"]]
    if again:
        return again[0]
    unfinished = [view for view in listed if view["phase"] not in FINISHED]
    fitting = [view for view in unfinished if act in view["possible"]]
    return (fitting or unfinished or listed)[0]
