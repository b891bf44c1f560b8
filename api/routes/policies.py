"""Policies: read them, and check one before it is put in its file."""

from typing import Annotated

from fastapi import Depends, Request
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError

from api.deps import ControllerDep, requires
from api.errors import Malformed
from api.lists import ListsDep
from api.routing import v1
from api.schemas import CheckedPolicy, Listing, PolicyText
from rollout.access import Permission
from rollout.config.check import check_policy
from rollout.showing.views import PolicyInfo

router = v1("policies")
READ = [requires(Permission.READ)]
_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "application/yaml": {"schema": {"type": "string"}},
            "text/plain": {"schema": {"type": "string"}},
            "application/json": {"schema": PolicyText.model_json_schema()},
        },
    }
}


async def _policy_text(request: Request) -> str:
    """The body as text: JSON `{"text": …}` by its content type, else the policy itself."""
    content = await request.body()
    try:
        text = content.decode("utf-8")
        if request.headers.get("content-type", "").partition(";")[0].strip() == "application/json":
            return PolicyText.model_validate_json(text).text
    except UnicodeDecodeError as error:
        raise Malformed(f"The body is not UTF-8 at byte {error.start}. Save the file as UTF-8.") from error
    except ValidationError as error:
        wrong = error.errors(include_url=False)
        raise RequestValidationError([{**each, "loc": ("body", *each["loc"])} for each in wrong]) from error
    return text


@router.get("/policies", dependencies=READ)
async def policies(controller: ControllerDep, lists: ListsDep) -> Listing[PolicyInfo]:
    """List the policies by name, as written."""
    return lists.page(controller.queries.policies(), lambda each: each.name)


@router.get("/policies/{name}", dependencies=READ)
async def policy(name: str, controller: ControllerDep) -> PolicyInfo:
    """Read one policy as written."""
    return controller.queries.policy(name)


@router.post("/policies/validate", dependencies=READ, openapi_extra=_BODY)
def validate(text: Annotated[str, Depends(_policy_text)], controller: ControllerDep) -> CheckedPolicy:
    """Check a policy against the regions and signals of now; nothing is stored. Wrong places are 422."""
    plan = check_policy(text, controller.files.current)
    stages = tuple({"name": stage.name, "regions": list(stage.regions)} for stage in plan.stages)
    return CheckedPolicy(name=plan.policy, stages=stages)
