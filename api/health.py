"""What /readyz shows: the checks of rollout/health.py, and what to look at though work goes on."""

from rollout.bootstrap import Controller
from rollout.health import Check, Health, emergencies, heartbeat_out

__all__ = ["Check", "checks"]


async def checks(controller: Controller) -> tuple[Check, ...]:
    """Look at everything. Causes with paths and queries go to the log, not to whoever asks."""
    found = await Health(controller.store, controller.files, controller.heartbeat).checks()
    kept = controller.emergencies
    more = (heartbeat_out(controller.beacon), emergencies(kept.trouble if kept else ""))
    return (*found, *(check for check in more if check))
