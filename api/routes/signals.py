"""What the sources find of a service's signals: for `rollout doctor`, and for people who write signals."""

from api.deps import ControllerDep, TokenDep, requires
from api.routing import v1
from api.schemas import Listing
from rollout.access import Permission, check_service
from rollout.looking import SignalFound

router = v1("services")


@router.get("/services/{name}/signals", dependencies=[requires(Permission.READ)])
async def signals(name: str, token: TokenDep, controller: ControllerDep) -> Listing[SignalFound]:
    """Look at each signal in each region: its series, their versions and age, or the nearest names."""
    check_service(token, name)
    return Listing(items=await controller.looking.signals(name))
