"""Every error code with its page: what it means and what to do. docs/problems.md is written from here.

A code is a promise: it is never renamed, because clients branch on the last part of `type`.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Page:
    """What people read about one code. `status` is the HTTP status that it usually comes with."""

    status: int
    title: str
    meaning: str
    mend: str


PAGES: dict[str, Page] = {
    "malformed": Page(
        400,
        "The request cannot be read",
        "The body is not JSON, not UTF-8, or not a form that can be read.",
        "Send valid JSON in UTF-8 with `content-type: application/json`.",
    ),
    "not-authenticated": Page(
        401,
        "No valid token",
        "There is no bearer token, or it is unknown, expired or revoked.",
        "Send `Authorization: Bearer rot_…`; an admin makes a token with `rollout token create`.",
    ),
    "not-allowed": Page(
        403,
        "The token lacks the right",
        "The token is valid, and its role or its services do not include this. Approving your own release "
        "is refused with this too.",
        "`detail` names the roles that may; ask somebody who has one of them.",
    ),
    "cross-site": Page(
        403,
        "The form did not come from this page",
        "A form was sent from another site, or from a page that was open before you logged in.",
        "Open the page again and send the form from there.",
    ),
    "not-found": Page(
        404,
        "There is no such thing",
        "The path, or the rollout, service, policy or token in it, does not exist or is not yours to see.",
        "List what exists, for example `GET /v1/rollouts`, and check the spelling.",
    ),
    "method-not-allowed": Page(
        405,
        "The path exists, the method does not",
        "The path answers other methods only.",
        "The header `Allow` lists them.",
    ),
    "conflict": Page(
        409,
        "It does not fit the present state",
        "The request is well formed, and what is stored does not permit it now.",
        "Read the resource again; `detail` says what fits.",
    ),
    "illegal-transition": Page(
        409,
        "Not possible in this phase",
        "The rollout's phase does not permit this act.",
        "`detail` and the rollout's `possible` list what can be done now.",
    ),
    "replaced": Page(
        409,
        "Newer releases have replaced it",
        "The release that you want to roll back runs in none of its regions any more.",
        "Roll back the newest release of the service: `detail` names the regions.",
    ),
    "touched": Page(
        409,
        "Too late to cancel",
        "A region runs the release already, so there is something to take back.",
        "Use `rollback`.",
    ),
    "answered": Page(
        409,
        "Already answered",
        "The same person has answered this approval before.",
        "Another person has to answer.",
    ),
    "no-bake": Page(
        409,
        "No bake is under way",
        "Promoting ends a bake early, and none is under way in that region, or in any.",
        "Read the rollout: `possible` names `promote` while there is one.",
    ),
    "beside-harm": Page(
        409,
        "Beside it runs what was rolled back",
        "Some users of a region are still on the release before, which was rolled back itself: it is no "
        "baseline, and nothing is compared with it.",
        "Roll it back, to the last known good before both, and start it again.",
    ),
    "which-stage": Page(
        409,
        "The gate is in several stages",
        "A report must say which stage it is for, so that one that is sent again never passes the next one.",
        'Send `"region"`, one of the regions of the stage, with the report.',
    ),
    "observes": Page(
        409,
        "The rollout only observes",
        "Under `mode: observe` nothing is ever deployed or restored by the controller.",
        "Act with what deployed the release; `cancel` ends the observation.",
    ),
    "expired": Page(
        409,
        "The approval's deadline has passed",
        "The answer came after the time that the policy gives; what it states for that case happens.",
        "`detail` and the rollout's `next` say what happens; `resume` or a new rollout asks again.",
    ),
    "version-rolled-back": Page(
        409,
        "The version was rolled back before",
        "A version that harmed users does not start again by itself.",
        "Release a new version, or let an admin start it with `override` and the reason.",
    ),
    "already-running": Page(
        409,
        "The version already runs",
        "Every region of the plan has this version as its known good.",
        "Nothing is to be done; check the version that you meant.",
    ),
    "rollout-active": Page(
        409,
        "Another rollout is under way",
        "The policy permits one rollout at a time, or what runs in the region is not settled yet.",
        "Wait for the rollout that `detail` names, or end it first.",
    ),
    "region-busy": Page(
        409,
        "Another rollout holds the region",
        "A region is moved by one rollout at a time.",
        "Wait for the rollout that `detail` names, or end it first.",
    ),
    "not-read": Page(
        409,
        "It was not read back what runs",
        "A region was not read back yet, does not answer, or was read back too long ago to say what runs "
        "there now. Nothing was adopted, in no region.",
        "Mend what `detail` says of each region, and adopt again once `GET /v1/services/{name}/regions` "
        "shows a new `running_at`; or name the other regions alone.",
    ),
    "mixed": Page(
        409,
        "More than one version runs",
        "Only a region that runs exactly one version can be adopted.",
        "Bring the region to one version with your own tools, then adopt again.",
    ),
    "ambiguous": Page(
        409,
        "The id is too short",
        "More than one rollout begins with what was written.",
        "Write more of the id.",
    ),
    "exists": Page(
        409,
        "It exists already",
        "Something with the same id is stored already.",
        "Read it; if it is not what you meant, send the request again for a new id.",
    ),
    "name-taken": Page(
        409,
        "Another valid token has this name",
        "A token's name stands for one person or program: whoever asked for a release may not approve it.",
        "Take another name, or revoke the token that `detail` names and send the request again.",
    ),
    "request-running": Page(
        409,
        "The first copy is still running",
        "A request with the same `Idempotency-Key` came before, and is not answered yet.",
        "Send it again, with the same key, after `Retry-After` seconds.",
    ),
    "request-took-effect": Page(
        409,
        "It took effect, and the answer is gone",
        "A request with the same `Idempotency-Key` did its work, and its answer cannot be given again: the "
        "secret of a token is stored nowhere, or the server died before it had written the answer down.",
        "`detail` says when, on what, and what to do. Do not send it with a new key before you have looked.",
    ),
    "not-known-good": Page(
        409,
        "That release is not known good there",
        "`rollout emergency restore` goes back only to what the signed file calls known good.",
        "Take one of the versions that it names, or none, for the newest.",
    ),
    "fenced": Page(
        409,
        "Another replica works on the service",
        "A replica wrote for a service that another one has taken over since. Nothing was changed.",
        "Nothing: the replica that holds the service goes on. When it is said at every look, two processes "
        "share one data directory: give each its own (`ROLLOUT_DATA`).",
    ),
    "stale": Page(
        412,
        "Changed since you looked",
        "`If-Match` names an older row version, or somebody else wrote first. Nothing was changed.",
        "Read again, decide again, and send the new `ETag`.",
    ),
    "too-large": Page(
        413,
        "The body is too large",
        "Bodies may have 1,000,000 bytes.",
        "Send less; a policy is a page of text.",
    ),
    "invalid-input": Page(
        422,
        "Something in the request is wrong",
        "The body or a parameter was read and cannot be accepted; nothing was changed.",
        "`errors` names each wrong place with a JSON pointer (`?name` for a query parameter, `file:line` for "
        "a policy) and says what belongs there.",
    ),
    "key-reused": Page(
        422,
        "The key came before with another request",
        "An `Idempotency-Key` stands for one request: method, path, query and body.",
        "Use a new key for a new request; repeat a request with the bytes that it had.",
    ),
    "precondition-required": Page(
        428,
        "Say which version you saw",
        "An approval or a promotion without `If-Match` could decide on something that nobody looked at.",
        "Read the rollout or the approval and send its `ETag` as `If-Match`; `*` names no version.",
    ),
    "internal": Page(
        500,
        "The controller failed",
        "This is a fault of the controller, not of the request.",
        "Look for `trace_id` in the controller's log, and report it. Read the state before trying again.",
    ),
    "outside": Page(
        502,
        "Something outside failed",
        "A deployer, a metric source or a notifier could not do its work. Status 503 is worth another try; "
        "502 is not, before somebody has changed something.",
        "`detail` says which one and why.",
    ),
    "too-many-streams": Page(
        503,
        "As many streams are open as there may be",
        "`ROLLOUT_STREAMS_MAX` event streams and waiting requests are open.",
        "Try again after `Retry-After` seconds, or read `GET /v1/events?after=` without a stream.",
    ),
    "outcome-unknown": Page(
        503,
        "It may have been recorded, or not",
        "The answer to the COMMIT was lost, and no database server can tell what became of it. It may or may "
        "not have been recorded. Send it again with the same Idempotency-Key; without one look first: "
        "rollout list.",
        "Send it again with the same `Idempotency-Key`, after `Retry-After` seconds: then it takes effect "
        "once. Without a key look first, with `rollout list` or `GET /v1/rollouts`, whether it is there.",
    ),
    "store": Page(
        503,
        "The database cannot be used",
        "The database is locked, full, damaged or not there. Nothing was changed.",
        "Try again after `Retry-After` seconds; the log has the cause under `trace_id`. While the "
        "database is gone, `rollout emergency restore SERVICE --region R` on a controller's machine brings a "
        "region back.",
    ),
}


def page(code: str) -> str:
    """One code as Markdown. Raises KeyError for a code that does not exist."""
    about = PAGES[code]
    return f"## {code}\n\n**{about.status} {about.title}.** {about.meaning}\n\nWhat to do: {about.mend}\n"


def document() -> str:
    """Write docs/problems.md: all codes in the order of their status."""
    head = (
        "# Problems\n\nEvery error of the HTTP API is `application/problem+json` (RFC 9457). Its `type` is "
        "`/problems/{code}`,\nwhich the server serves too; `detail` says what to do in this one case; "
        "`trace_id` finds it in the log.\n"
    )
    return "\n".join([head, *(page(code) for code in PAGES)])
