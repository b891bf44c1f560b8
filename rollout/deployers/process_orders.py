"""Orders of the deployer `process` as pure functions: which slot runs what, and how far an order is."""

from collections import Counter
from typing import Any

from rollout.core.actions import Action, ActionResult
from rollout.core.errors import PermanentError
from rollout.core.model import Kind
from rollout.ports import Progress, Reply
from rollout.supervisor import files
from rollout.supervisor.files import Desired, Failure, InstanceStatus, SlotWish, Status


def candidates(weight: int, instances: int) -> int:
    """How many slots get `weight` percent: at least one, and under 100 % never all of several."""
    if weight >= 100:
        return instances
    return min(max(1, int(weight * instances / 100 + 0.5)), max(1, instances - 1))


def slots_for(action: Action, instances: int, before: Desired | None) -> tuple[SlotWish, ...]:
    """Which version each slot gets. Slots that have the candidate keep it as long as there is room.

    Raises PermanentError when nothing says what the slots beside the candidates should run.
    """
    names = [str(number) for number in range(1, instances + 1)]
    count = instances if action.kind is Kind.RESTORE else candidates(action.weight, instances)
    now = {wish.slot: wish.version for wish in before.slots} if before else {}
    chosen = set(sorted(names, key=lambda name: now.get(name) != action.version)[:count])
    others = {name: action.from_version or now.get(name, "") for name in names if name not in chosen}
    if not all(map(files.is_version, others.values())):
        raise PermanentError(
            f"{action.weight} % of {instances} instances leaves {len(others)} for another version, and "
            "from_version does not name one. Order 100 %, or name it."
        )
    return tuple(
        SlotWish(slot=name, version=action.version if name in chosen else others[name]) for name in names
    )


def refuse(before: Desired | None, key: str, action: Action) -> None:
    """Raise PermanentError for an order that was overtaken by a newer one."""
    if before is None:
        return
    if action.generation < before.generation:
        raise PermanentError(
            f"Generation {action.generation} of {key} is lower than {before.generation} of {before.key}: "
            "a newer decision was taken for this region."
        )
    if key in before.seen:
        raise PermanentError(f"{key} was done before and overtaken by {before.key}.")


def progress(desired: Desired, status: Status | None) -> Reply:
    """How far the supervisor is with an order. Raises PermanentError when it refused the order."""
    if status is not None and status.refused and status.refused_key == desired.key:
        raise PermanentError(f"The supervisor refused {desired.key}: {status.refused}.")
    wanted = {wish.slot: wish.version for wish in desired.slots}
    if status is None or status.key != desired.key:
        text = f"{len(wanted)} slots are ordered; the supervisor has not begun."
        return Reply(progress=Progress.RUNNING, result=ActionResult(message=text))
    ready = [i for i in status.instances if i.healthy and wanted.get(i.slot) == i.version]
    running = dict(Counter(one.version for one in status.instances if one.healthy))
    if status.failed and not status.converged:
        return failed(f"{len(ready)} of {len(wanted)} slots are as ordered", status.failed, running)
    if not status.converged:
        text = f"{len(ready)} of {len(wanted)} slots are as ordered."
        return Reply(progress=Progress.RUNNING, result=ActionResult(message=text, running=running))
    counts = ", ".join(f"{count} × {version}" for version, count in sorted(running.items()))
    return done(f"All {len(wanted)} slots are as ordered and healthy: {counts}.", running=running)


def done(
    message: str, *, running: dict[str, int] | None = None, details: dict[str, Any] | None = None
) -> Reply:
    """An answer that ends an order well."""
    result = ActionResult(message=message, running=running or {}, details=details or {})
    return Reply(progress=Progress.SUCCEEDED, result=result)


def failed(what: str, failure: Failure, running: dict[str, int] | None = None) -> Reply:
    """An answer that ends an order badly, with the last thing that the process wrote."""
    last = f' Its last words: "{failure.last_lines[-1]}".' if failure.last_lines else ""
    message = f"{what}: {failure.version} in slot {failure.slot} {failure.reason}.{last}"
    details = {"slot": failure.slot, "last_lines": list(failure.last_lines)}
    return Reply(
        progress=Progress.FAILED, result=ActionResult(message=message, running=running or {}, details=details)
    )


def ends(one: InstanceStatus) -> str:
    """How the last process of a slot ended, in words."""
    return f"last: {one.exits[-1].reason}" if one.exits else "none has run yet"
