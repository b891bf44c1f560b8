import httpx
import pytest
from page_app import ID, Stage, hidden, text_of
from page_views import rollout

from api.dashboard.acts import VERBS
from rollout.core.errors import IllegalTransition, NotAllowed
from rollout.core.model import Phase

PHASE_FOR = {
    "approve": Phase.AWAITING_APPROVAL,
    "reject": Phase.AWAITING_APPROVAL,
    "hold": Phase.PROGRESSING,
    "resume": Phase.HELD,
    "rollback": Phase.PROGRESSING,
    "cancel": Phase.QUEUED,
    "promote": Phase.PROGRESSING,
    "retry": Phase.ROLLED_BACK,
    "note": Phase.SUPERSEDED,
}
LEADS_TO = {"retry": "ro_AGAIN"}  # else back to the same rollout


async def _form(stage: Stage, client: httpx.AsyncClient, verb: str) -> dict[str, str]:
    """What the confirmation of `verb` would send, with a reason."""
    stage.queries.show(rollout(PHASE_FOR[verb]))
    page = (await client.get(f"/rollouts/{ID}/{verb}")).text
    fields = {name: hidden(page, name) for name in ("csrf", "row_version")}
    return {**fields, "reason": "because"}


@pytest.mark.parametrize("verb", VERBS)
async def test_a_get_never_acts(stage: Stage, admin: httpx.AsyncClient, verb: str) -> None:
    stage.queries.show(rollout(PHASE_FOR[verb]))
    query = {"reason": "because", "row_version": 7, "csrf": "x"}
    answer = await admin.get(f"/rollouts/{ID}/{verb}", params=query)
    assert answer.status_code == 200
    assert stage.commands.asked == []


@pytest.mark.parametrize("verb", VERBS)
async def test_each_verb_records_one_intent_and_returns_to_the_rollout(
    stage: Stage, admin: httpx.AsyncClient, verb: str
) -> None:
    answer = await admin.post(f"/rollouts/{ID}/{verb}", data=await _form(stage, admin, verb))
    to = f"/rollouts/{LEADS_TO.get(verb, ID)}"
    assert (answer.status_code, answer.headers["location"]) == (303, to)
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith(f"rollout_asked={verb}; HttpOnly; Max-Age=60; Path={to}; ")
    assert [asked[:4] for asked in stage.commands.asked] == [(verb, ID, "ann", "because")]


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("csrf", [None, "", "wrong"])
async def test_a_form_without_the_right_secret_is_403_and_does_nothing(
    stage: Stage, admin: httpx.AsyncClient, verb: str, csrf: str | None
) -> None:
    form = await _form(stage, admin, verb)
    del form["csrf"]
    answer = await admin.post(f"/rollouts/{ID}/{verb}", data=form if csrf is None else {**form, "csrf": csrf})
    assert answer.status_code == 403
    assert "text/html" in answer.headers["content-type"]
    assert stage.commands.asked == []


@pytest.mark.parametrize("headers", [{"origin": "https://evil.example"}, {"sec-fetch-site": "cross-site"}])
async def test_a_form_from_another_site_is_403(
    stage: Stage, admin: httpx.AsyncClient, headers: dict[str, str]
) -> None:
    form = await _form(stage, admin, "rollback")
    answer = await admin.post(f"/rollouts/{ID}/rollback", data=form, headers=headers)
    assert answer.status_code == 403
    assert stage.commands.asked == []


@pytest.mark.parametrize(
    ("role", "verb"), [("viewer", "rollback"), ("deployer", "approve"), ("approver", "cancel")]
)
async def test_a_role_without_the_right_is_refused_and_told_who_has_it(
    stage: Stage, role: str, verb: str
) -> None:
    async with await stage.logged_in(role) as client:
        stage.queries.show(rollout(PHASE_FOR[verb]))
        shown = await client.get(f"/rollouts/{ID}/{verb}")
        form = {"csrf": hidden(shown.text, "csrf"), "row_version": "7", "reason": "because"}
        answer = await client.post(f"/rollouts/{ID}/{verb}", data=form)
    assert 'id="confirm"' not in shown.text
    assert "ask somebody who is" in text_of(shown.text)
    assert answer.status_code == 403
    assert "admin" in text_of(answer.text)
    assert stage.commands.asked == []


@pytest.mark.parametrize("verb", [name for name, verb in VERBS.items() if verb.guarded])
async def test_a_decision_on_what_has_changed_since_is_refused_and_shows_what_is_now(
    stage: Stage, admin: httpx.AsyncClient, verb: str
) -> None:
    form = await _form(stage, admin, verb)
    stage.queries.show(rollout(PHASE_FOR[verb], row_version=8, sentence="It is another thing now."))
    answer = await admin.post(f"/rollouts/{ID}/{verb}", data=form)
    assert answer.status_code == 412
    assert stage.commands.asked == []
    assert "Changed since you looked." in text_of(answer.text)
    assert "It is another thing now." in text_of(answer.text)
    assert ">because</textarea>" in answer.text, "what was typed is kept"
    again = await admin.post(
        f"/rollouts/{ID}/{verb}", data={**form, "row_version": hidden(answer.text, "row_version")}
    )
    assert again.status_code == 303


async def test_a_rollback_is_never_refused_for_being_stale(stage: Stage, admin: httpx.AsyncClient) -> None:
    form = await _form(stage, admin, "rollback")
    stage.queries.show(rollout(Phase.PROGRESSING, row_version=99))
    assert (await admin.post(f"/rollouts/{ID}/rollback", data=form)).status_code == 303


async def test_a_rollback_needs_no_reason_and_the_history_says_so(
    stage: Stage, admin: httpx.AsyncClient
) -> None:
    form = await _form(stage, admin, "rollback")
    answer = await admin.post(f"/rollouts/{ID}/rollback", data={**form, "reason": " "})
    assert answer.status_code == 303
    assert stage.commands.asked[0][3] == "no reason was given on the page"


async def test_any_other_verb_asks_for_a_reason(stage: Stage, admin: httpx.AsyncClient) -> None:
    form = await _form(stage, admin, "hold")
    answer = await admin.post(f"/rollouts/{ID}/hold", data={**form, "reason": " \r\n "})
    assert answer.status_code == 422
    assert "Say why." in text_of(answer.text)
    assert stage.commands.asked == []


async def test_a_hold_carries_its_time_and_what_comes_after(stage: Stage, admin: httpx.AsyncClient) -> None:
    form = await _form(stage, admin, "hold")
    await admin.post(f"/rollouts/{ID}/hold", data={**form, "for_s": "900", "then": "resume"})
    await admin.post(f"/rollouts/{ID}/hold", data={**form, "for_s": "0"})
    assert [asked[4] for asked in stage.commands.asked] == [
        {"for_s": 900, "then": "resume"},
        {"for_s": None, "then": "hold"},
    ]


@pytest.mark.parametrize(
    "field", [{"for_s": "-1"}, {"for_s": "x"}, {"then": "explode"}, {"reason": "x" * 501}]
)
async def test_a_bent_form_is_422_and_does_nothing(
    stage: Stage, admin: httpx.AsyncClient, field: dict[str, str]
) -> None:
    form = await _form(stage, admin, "hold")
    answer = await admin.post(f"/rollouts/{ID}/hold", data={**form, **field})
    assert answer.status_code == 422
    assert "Nothing was changed." in text_of(answer.text)
    assert stage.commands.asked == []


async def test_lines_of_a_reason_become_one_and_hidden_characters_are_refused(
    stage: Stage, admin: httpx.AsyncClient
) -> None:
    form = await _form(stage, admin, "hold")
    await admin.post(f"/rollouts/{ID}/hold", data={**form, "reason": "one\r\ntwo  three"})
    answer = await admin.post(f"/rollouts/{ID}/hold", data={**form, "reason": "red \x1b[31m"})
    assert [asked[3] for asked in stage.commands.asked] == ["one two three"]
    assert answer.status_code == 422


async def test_what_the_command_refuses_is_said_beside_the_form(
    stage: Stage, admin: httpx.AsyncClient
) -> None:
    form = await _form(stage, admin, "approve")
    stage.commands.refuse = NotAllowed(
        "ann authored this release, and the policy wants somebody else to approve."
    )
    answer = await admin.post(f"/rollouts/{ID}/approve", data=form)
    assert answer.status_code == 403
    assert "ann authored this release" in text_of(answer.text)
    stage.commands.refuse = IllegalTransition(ID, "held", "approve", ("resume",))
    assert (await admin.post(f"/rollouts/{ID}/approve", data=form)).status_code == 409


async def test_a_verb_that_does_not_fit_shows_what_does_and_no_form(
    stage: Stage, admin: httpx.AsyncClient
) -> None:
    stage.queries.show(rollout(Phase.SUPERSEDED))
    answer = await admin.get(f"/rollouts/{ID}/approve")
    assert 'id="confirm"' not in answer.text
    assert "The rollout is superseded, where this is not possible. Possible now: nothing." in text_of(
        answer.text
    )


async def test_what_was_asked_is_acknowledged_until_it_shows(stage: Stage, admin: httpx.AsyncClient) -> None:
    admin.cookies.set("rollout_asked", "rollback", domain="page.test")
    words = "Recorded: “Roll back R3 to 1.1.0”."
    assert words in text_of((await admin.get(f"/rollouts/{ID}")).text)
    stage.queries.show(rollout(Phase.ROLLED_BACK))
    assert "Recorded" not in (await admin.get(f"/rollouts/{ID}")).text
    admin.cookies.set("rollout_asked", "<script>", domain="page.test")
    assert "Recorded" not in (await admin.get(f"/rollouts/{ID}")).text


async def test_a_link_cannot_claim_that_something_was_recorded(admin: httpx.AsyncClient) -> None:
    assert "Recorded" not in (await admin.get(f"/rollouts/{ID}?asked=rollback")).text


async def test_cancel_of_a_touched_rollout_does_not_say_that_no_region_was_touched(
    stage: Stage, admin: httpx.AsyncClient
) -> None:
    stage.queries.show(rollout(Phase.PROGRESSING))
    page = text_of((await admin.get(f"/rollouts/{ID}/cancel")).text)
    assert "No region was touched" not in page
    assert "Possible now: hold, promote, rollback" in page
