import httpx
import pytest
from page_app import ID, Stage, hidden


@pytest.mark.parametrize("path", ["/", f"/rollouts/{ID}", f"/rollouts/{ID}/rollback", f"/rollouts/{ID}/raw"])
async def test_without_a_session_every_screen_leads_to_the_login(stage: Stage, path: str) -> None:
    async with stage.browser() as client:
        answer = await client.get(path)
    assert answer.status_code == 303
    assert answer.headers["location"] == "/login?next=" + path.replace("/", "%2F")


async def test_logging_in_sets_a_strict_cookie_and_goes_on(stage: Stage) -> None:
    async with stage.browser() as client:
        form = await client.get("/login", params={"next": f"/rollouts/{ID}"})
        sent = {"token": f" {await stage.secret()}\n", "next": hidden(form.text, "next")}
        answer = await client.post("/login", data=sent)
    assert (answer.status_code, answer.headers["location"]) == (303, f"/rollouts/{ID}")
    cookie = answer.headers["set-cookie"].lower()
    assert cookie.startswith("rollout_session=ros_")
    assert {"httponly", "samesite=strict", "secure", "path=/"} <= set(cookie.split("; "))


@pytest.mark.parametrize("host", ["127.0.0.1:8080", "localhost:8080", "[::1]:8080"])
async def test_the_cookie_is_not_secure_on_plain_loopback(stage: Stage, host: str) -> None:
    async with stage.browser() as client:
        headers = {"origin": f"http://{host}"}
        answer = await client.post(
            f"http://{host}/login", data={"token": await stage.secret()}, headers=headers
        )
    assert "secure" not in answer.headers["set-cookie"].lower().split("; ")


@pytest.mark.parametrize("token", ["", "nonsense", "rot_" + "a" * 50])
async def test_a_wrong_token_is_refused_with_the_next_step_and_without_a_cookie(
    stage: Stage, token: str
) -> None:
    async with stage.browser() as client:
        answer = await client.post("/login", data={"token": token, "next": "/"})
    assert answer.status_code == 401
    assert "rollout token create" in answer.text
    assert "set-cookie" not in answer.headers
    assert not token or token not in answer.text


@pytest.mark.parametrize(
    "wanted",
    ["https://evil.example/", "//evil.example", "/\\evil.example", "javascript:alert(1)", "/a\nb", ""],
)
async def test_next_leads_nowhere_else(stage: Stage, wanted: str) -> None:
    async with stage.browser() as client:
        form = await client.get("/login", params={"next": wanted})
        answer = await client.post("/login", data={"token": await stage.secret(), "next": wanted})
    assert hidden(form.text, "next") == "/"
    assert answer.headers["location"] == "/"


async def test_a_login_form_from_another_site_is_refused(stage: Stage) -> None:
    async with stage.browser() as client:
        sent = {"token": await stage.secret()}
        answer = await client.post("/login", data=sent, headers={"origin": "https://evil.example"})
    assert answer.status_code == 403
    assert "set-cookie" not in answer.headers


async def test_logging_out_ends_the_session_on_the_server_too(stage: Stage, admin: httpx.AsyncClient) -> None:
    kept = dict(admin.cookies)
    answer = await admin.post("/logout", data={"csrf": hidden((await admin.get("/")).text, "csrf")})
    assert (answer.status_code, answer.headers["location"]) == (303, "/login")
    async with stage.browser() as client:
        client.cookies.update(kept)
        assert (await client.get("/")).status_code == 303


async def test_logging_out_needs_the_form_secret(admin: httpx.AsyncClient) -> None:
    assert (await admin.post("/logout", data={})).status_code == 403
    assert (await admin.get("/")).status_code == 200
