"""Tokens, and who is asking. A token that is narrowed to services neither sees nor makes a wider one."""

from fastapi import Response

from api.deps import ControllerDep, TokenDep, requires
from api.lists import ListsDep
from api.routing import shown_once, v1
from api.schemas import CreatedToken, Listing, TokenBody, Who
from rollout.access import ROLES, Permission, check_grant
from rollout.ports import Token

router = v1("access")
READ, ADMIN = [requires(Permission.READ)], [requires(Permission.ADMIN)]


@router.get("/whoami", dependencies=READ)
async def whoami(token: TokenDep) -> Who:
    """Say who the token is and what it may do."""
    return Who(token=token, permissions=tuple(sorted(ROLES[token.role] - {Permission.OPEN})))


@router.get("/tokens", dependencies=ADMIN)
async def tokens(controller: ControllerDep, token: TokenDep, lists: ListsDep) -> Listing[Token]:
    """List tokens, ended ones too; never their secrets."""
    return lists.page(await controller.access.tokens(token), lambda each: each.id)


@router.post("/tokens", status_code=201, dependencies=ADMIN)
@shown_once
async def create_token(
    body: TokenBody, controller: ControllerDep, token: TokenDep, response: Response
) -> CreatedToken:
    """Create a token; its secret is in this answer and nowhere else."""
    check_grant(token, body.services)
    created, secret = await controller.access.create_token(
        body.name, body.role, groups=body.groups, services=body.services, days=body.days
    )
    response.headers["location"] = f"/v1/tokens/{created.id}"
    return CreatedToken(token=created, secret=secret)


@router.delete("/tokens/{id}", status_code=204, dependencies=ADMIN)
async def revoke_token(id: str, controller: ControllerDep, token: TokenDep) -> None:  # noqa: A002  # the path's word
    """End a token and its sessions; the next request with it is refused."""
    await controller.access.revoke(id, token)
