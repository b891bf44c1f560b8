"""How much there is: blocks by service, day and length, samples by service and region, and what rows take.

Counts are written in the transaction that writes what they count.
"""

from collections import Counter
from collections.abc import Iterable, Mapping

from sqlalchemy import Connection, func, select

from rollout.store import tables
from rollout.store.blocks import EPOCH, Block
from rollout.store.dialects import dialect_of
from rollout.store.mapping import Values
from rollout.store.writing import increase

_D, _M = tables.history_days, tables.history_marks


def block_bytes(conn: Connection) -> int:
    """What one block of history takes."""
    return dialect_of(conn).block_bytes


def sample_bytes(conn: Connection) -> int:
    """What one stored sample takes."""
    return dialect_of(conn).sample_bytes


def row(series: int, length_s: int, start: int, block: Block) -> Values:
    """The row of a block."""
    sums = {"value": block.value, "exposure": block.exposure, "middle": block.middle}
    return {"series": series, "length_s": length_s, "start": start, **sums, "samples": block.samples}


def count(conn: Connection, service: str, length_s: int, blocks: Mapping[int, int]) -> None:
    """Count blocks that were added, or, below zero, deleted, by the day in which they begin."""
    days = sorted(blocks.items())
    rows = [{"service": service, "day": day, "length_s": length_s, "blocks": more} for day, more in days]
    increase(conn, _D, rows, "blocks")


def count_samples(conn: Connection, service: str, regions: Iterable[str]) -> None:
    """Count samples that were stored, by the region of each."""
    new = sorted(Counter(regions).items())
    rows = [{"service": service, "region": name, "until": EPOCH, "samples": more} for name, more in new]
    increase(conn, _M, rows, "samples")


def samples(conn: Connection) -> dict[str, int]:
    """How many samples each service has."""
    found = conn.execute(select(_M.c.service, func.sum(_M.c.samples).label("rows")).group_by(_M.c.service))
    return {each.service: int(each.rows) for each in found}


def sizes(conn: Connection) -> dict[str, int]:
    """Bytes of samples and of history by service."""
    sizes = {service: rows * sample_bytes(conn) for service, rows in samples(conn).items()}
    for each in conn.execute(
        select(_D.c.service, func.sum(_D.c.blocks).label("rows")).group_by(_D.c.service)
    ):
        sizes[each.service] = sizes.get(each.service, 0) + int(each.rows) * block_bytes(conn)
    return sizes
