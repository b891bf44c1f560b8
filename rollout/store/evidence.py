"""Evidence that has just been begun: kept at once, so that no reading of history is lost with its controller.

From then on it is written with the decisions that rest on it (commit.py).
"""

from sqlalchemy import Connection, select

from rollout.core.judge.evidence import RegionEvidence, of_this_form
from rollout.ports import Fence
from rollout.store import claims, mapping, tables
from rollout.store.writing import put

_E = tables.evidence


def begin(conn: Connection, rollout_id: str, begun: RegionEvidence, fence: Fence | None = None) -> None:
    """Store it unless there is some, of the same time or later, that can be gone on with. Raises Fenced."""
    claims.check(conn, fence)
    found = select(_E).where(_E.c.rollout_id == rollout_id, _E.c.region == begun.region)
    row = conn.execute(found).one_or_none()
    known = None if row is None else mapping.EVIDENCE.noun(row)
    if known is None or not of_this_form(known) or known.started_at < begun.started_at:
        put(conn, _E, [mapping.EVIDENCE.row(begun, rollout_id=rollout_id, region=begun.region)])
