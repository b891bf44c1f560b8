"""A typed client of the server, for pipelines and programs: `from rollout.client import Client`.

client.py has the methods, wire.py asks and asks again, stream.py follows events, reading.py makes the nouns
of rollout/showing/views.py from JSON, errors.py is the tree. docs/client.md has examples. What must not live
here: exit codes and words of the command line.
"""

from rollout.client.client import Client, Who, attention, ended
from rollout.client.errors import (
    Changed,
    ClientError,
    Conflict,
    NotAllowed,
    NotAuthenticated,
    NotFound,
    NotOurs,
    Refused,
    Unreachable,
    WaitedTooLong,
)
from rollout.client.wire import Answer

__all__ = [
    "Answer",
    "Changed",
    "Client",
    "ClientError",
    "Conflict",
    "NotAllowed",
    "NotAuthenticated",
    "NotFound",
    "NotOurs",
    "Refused",
    "Unreachable",
    "WaitedTooLong",
    "Who",
    "attention",
    "ended",
]
