"""What /readyz shows: the checks of rollout/health.py, and how calling the heartbeat URL goes."""

from rollout.bootstrap import Controller
from rollout.health import Check, Health, heartbeat_out

__all__ = ["Check", "checks"]


async def checks(controller: Controller) -> tuple[Check, ...]:
    """Look at everything. Causes with paths and queries go to the log, not to whoever asks."""
    found = await Health(controller.store, controller.files, controller.heartbeat).checks()
    out = heartbeat_out(controller.beacon)
    return (*found, out) if out else found
