"""Claims: one owner for each epoch, epochs rise, and whoever writes or begins an effect is the owner."""

from collections.abc import Iterator

from tests.simulation.checkers.violation import Checker, Violation, broken
from tests.simulation.history import Committed, Granted, History, Saved, Sent, Stored

SLACK_S = 0.2  # between the database's answer and what it is counted from


def c1_each_epoch_has_one_owner(history: History) -> Iterator[Violation]:
    """An epoch is never given to two processes, and never goes down."""
    owners: dict[tuple[str, int], str] = {}
    newest: dict[str, int] = {}
    for happened, granted in history.of(Granted):
        for service, epoch in granted.held.claims.items():
            owner = owners.setdefault((service, epoch), granted.by)
            if owner != granted.by:
                text = f"epoch {epoch} of {service} is {owner}'s, and {granted.by} is given it too"
                yield broken("C1", happened, text)
            if epoch < newest.setdefault(service, epoch):
                yield broken("C1", happened, f"{service} goes from epoch {newest[service]} to {epoch}")
            newest[service] = max(newest[service], epoch)


def c2_every_write_is_the_owners(history: History) -> Iterator[Violation]:
    """What the reconciler writes carries the newest epoch, which is its own."""
    newest: dict[str, tuple[int, str]] = {}
    for happened, what in history.of(Granted, Committed, Saved, Stored):
        if isinstance(what, Granted):
            for service, epoch in what.held.claims.items():
                newest[service] = max(newest.get(service, (0, "")), (epoch, what.by))
            continue
        if isinstance(what, Saved) and not what.kept:
            continue
        name = type(what).__name__.lower()
        if what.fence is None:
            yield broken("C2", happened, f"{what.by} has {name} something without a fence")
        elif newest.get(what.fence.service) != (what.fence.epoch, what.by):
            yield broken(
                "C2",
                happened,
                f"{what.by} has {name} something with epoch {what.fence.epoch} of {what.fence.service}, "
                f"and the newest is {newest.get(what.fence.service)}",
            )


def c3_effects_begin_under_a_lease(history: History) -> Iterator[Violation]:
    """Nothing is sent to a target by a process whose lease is over, or another's."""
    holder: dict[str, tuple[str, float]] = {}
    for happened, what in history.of(Granted, Sent):
        if isinstance(what, Granted):
            for service in what.held.claims:
                holder[service] = (what.by, happened.at + what.replica.lease_s)
            continue
        if what.key.startswith("doubt/"):
            continue
        owner, until = holder.get(what.action.service, ("nobody", 0.0))
        if owner != what.by:
            yield broken("C3", happened, f"{what.by} sends {what.key}, and {owner} holds the service")
        elif happened.at > until + SLACK_S:
            late = happened.at - until
            yield broken("C3", happened, f"{what.by} sends {what.key} {late:.1f} s after its lease")


ALL: tuple[Checker, ...] = (
    c1_each_epoch_has_one_owner,
    c2_every_write_is_the_owners,
    c3_effects_begin_under_a_lease,
)
