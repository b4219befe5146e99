"""Who speaks: the operator's callable, Flask-Login, the session, our cookie, the address."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import flask_login  # type: ignore[import-untyped]  # it ships no types
import pytest
from flask import Flask, g, session

from safety_middleware import SettingsError, current_turn

Guard = Callable[..., Any]


@pytest.fixture
def app() -> Flask:
    app = Flask("people")
    app.secret_key = "k" * 32

    @app.post("/chat")
    def chat() -> str:
        return current_turn().safety_identifier

    @app.post("/login/<user>")
    def login(user: str) -> str:
        session["user_id"] = user
        return "in"

    return app


def test_the_callable_sees_what_before_request_functions_found(guard: Guard, app: Flask) -> None:
    @app.before_request
    def load() -> None:
        g.user = "ann"

    site = guard(app, user=lambda: g.user)
    assert site.post().text == site.safety.identify(user="ann")[0].safety_identifier


def test_callables_may_be_asynchronous(guard: Guard, app: Flask) -> None:
    async def user() -> str:
        return "ann"

    expected = "u1_"
    assert guard(app, user=user).post().text.startswith(expected)

    other = Flask("other")
    other.add_url_rule("/chat", "chat", app.view_functions["chat"], methods=["POST"])
    assert guard(other, user=lambda: user()).post().text.startswith(expected)  # noqa: PLW0108  # a plain function


def test_a_wrong_kind_of_user_is_the_operators_error(guard: Guard, app: Flask) -> None:
    site = guard(app, user=lambda: 1.5)
    with pytest.raises(SettingsError, match="float"):
        site.post()
    assert site.record().reason == "moderation_unavailable"


def test_flask_login_tells_who_is_there(guard: Guard, app: Flask) -> None:
    login = flask_login.LoginManager(app)

    class User(flask_login.UserMixin):  # type: ignore[misc]  # no types
        id = "ann"

    @login.user_loader  # type: ignore[untyped-decorator]  # no types
    def load(user: str) -> User | None:
        return User() if user == "ann" else None

    @app.post("/enter")
    def enter() -> str:
        flask_login.login_user(User())  # pyright: ignore[reportUnknownMemberType]  # no types
        return "in"

    site = guard(app)
    assert site.post().text.startswith("a1_")
    site.client.post("/enter")
    assert site.post().text == site.safety.identify(user="ann")[0].safety_identifier


def test_the_session_tells_who_is_there(guard: Guard, app: Flask) -> None:
    site = guard(app)
    site.client.post("/login/ann")
    reply = site.post()
    assert reply.text == site.safety.identify(user="ann")[0].safety_identifier
    assert "Vary" not in reply.headers  # the app's own view has not looked


def test_require_login_is_401_for_anybody_else(guard: Guard, app: Flask) -> None:
    site = guard(app, require_login=True)
    assert site.post().status_code == 401
    site.client.post("/login/ann")
    assert site.post().status_code == 200


def test_a_stranger_is_an_address_and_then_a_session(guard: Guard, app: Flask) -> None:
    site = guard(app)
    first = site.post()
    cookie = first.headers["Set-Cookie"]
    assert first.text.startswith("a1_")
    assert all(part in cookie for part in ("HttpOnly", "SameSite=Lax", "Path=/"))
    assert "Secure" not in cookie
    second = site.post()
    assert second.text.startswith("s1_")
    assert "Set-Cookie" not in second.headers


def test_a_forged_cookie_is_no_session(guard: Guard, app: Flask) -> None:
    site = guard(app)
    site.client.set_cookie("safety_session", "forged.a.b")
    assert site.post().text.startswith("a1_")


def test_the_cookie_is_secure_where_the_request_is(guard: Guard, app: Flask) -> None:
    reply = guard(app, cookie_samesite="None").post(base_url="https://localhost")
    assert "SameSite=None; Secure" in reply.headers["Set-Cookie"]


def test_a_session_of_the_operators_own_takes_the_place_of_our_cookie(
    guard: Guard, app: Flask
) -> None:
    site = guard(app, session=lambda: session.get("sid"))
    reply = site.post()
    assert reply.text.startswith("a1_")
    assert "Set-Cookie" not in reply.headers
    with site.client.session_transaction() as stored:
        stored["sid"] = 7
    assert site.post().text == site.safety.identify(session="app:7")[0].safety_identifier


def test_addresses_count_from_the_operators_own_proxies(guard: Guard, app: Flask) -> None:
    site = guard(app, trusted_proxies=1)
    headers = {"X-Forwarded-For": "6.6.6.6, 10.0.0.9"}
    expected = site.safety.identify(address="10.0.0.9")[0].safety_identifier
    assert site.post(headers=headers).text == expected


def test_limits_count_by_identity_and_tell(guard: Guard, app: Flask) -> None:
    site = guard(app, limits_on=True, anonymous_limits="2/minute")
    site.client.set_cookie("safety_session", site.safety.keyring.new_session()[1])
    allowed = [site.post() for _ in range(2)]
    refused = site.post()
    assert [reply.status_code for reply in (*allowed, refused)] == [200, 200, 429]
    assert int(refused.headers["Retry-After"]) > 0
    for reply in (*allowed, refused):
        assert len(reply.headers.getlist("RateLimit")) == 1
