"""Ways round who one is: no header, cookie or callable makes another identity of a client."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.middleware.sessions import SessionMiddleware
from starlette.requests import Request
from starlette.routing import Route
from starlette.testclient import TestClient

from safety_middleware import SettingsError
from safety_middleware.store import Record
from safety_middleware_starlette import SafetyMiddleware

from .conftest import Bench, Reached


def user_header(request: Request) -> str | None:
    return request.headers.get("x-user")


def user_session(request: Request) -> Any:
    return request.session.get("uid")


def user_session_or_nobody(request: Request) -> Any:
    return request.session.get("uid", "nobody")


def identities(safety: Any) -> list[str | None]:
    assert safety.store.flush()
    found: list[Record] = safety.store.latest()
    return [record.identity for record in reversed(found)]


def opened(bench: Bench, reached: Reached, **settings: Any) -> tuple[Any, Any]:
    """An app in process, whose peer's address can be chosen, and its engine."""
    safety = bench.safety(settings=settings, moderation=False)
    app = bench.app([Route("/chat", reached.handler, methods=["POST"])])
    app.add_middleware(SafetyMiddleware, safety=safety)
    return app, safety


def test_a_forwarded_address_counts_only_from_proxies_we_trust(
    bench: Bench, reached: Reached
) -> None:
    for trusted, lines, same in (
        (0, ["1.1.1.1", "2.2.2.2"], True),
        (1, ["1.1.1.1, 9.9.9.9", "2.2.2.2, 9.9.9.9"], True),
        (1, ["1.1.1.1", "2.2.2.2"], False),
        (2, ["1.1.1.1, 8.8.8.8, 9.9.9.9", "2.2.2.2, 8.8.8.8, 7.7.7.7"], True),
        (1, ["nonsense", "<script>"], True),
    ):
        app, safety = opened(bench, reached, trusted_proxies=trusted)
        for line in lines:
            with TestClient(app, client=("10.0.0.1", 1)) as client:
                client.post("/chat", json={"message": "x"}, headers={"x-forwarded-for": line})
        first, second = identities(safety)
        assert (first == second) is same, (trusted, lines)


def test_the_addresses_of_one_ipv6_network_are_one(bench: Bench, reached: Reached) -> None:
    app, safety = opened(bench, reached)
    for peer in ("2001:db8:0:1::1", "2001:db8:0:1:ffff::2", "2001:db8:0:2::1"):
        with TestClient(app, client=(peer, 1)) as client:
            client.post("/chat", json={"message": "x"})
    one, same, other = identities(safety)
    assert one == same != other


@pytest.mark.parametrize(
    "cookie",
    ["abc", "abc.def.ghi", "..", "", "\u00e9", "a" * 5000, '"quoted"', "x; safety_session=y"],
)
def test_a_forged_cookie_makes_no_session(bench: Bench, reached: Reached, cookie: str) -> None:
    app, safety = opened(bench, reached)
    with TestClient(app) as client:
        sent = f"safety_session={cookie}".encode()
        headers: Any = {b"cookie": sent}
        assert client.post("/chat", json={"message": "x"}, headers=headers).status_code == 200
    (identity,) = identities(safety)
    assert str(identity).startswith("a1_")


def test_a_cookie_of_another_secret_makes_no_session(bench: Bench, reached: Reached) -> None:
    theirs, _ = opened(bench, reached, secret="t" * 64)
    ours, safety = opened(bench, reached)
    with TestClient(theirs) as client:
        cookie = client.post("/chat", json={"message": "x"}).headers["set-cookie"].split(";")[0]
    with TestClient(ours) as client:
        client.post("/chat", json={"message": "x"}, headers={"cookie": cookie})
    (identity,) = identities(safety)
    assert str(identity).startswith("a1_")


def test_the_cookie_is_for_the_server_alone_and_for_https_under_https(
    bench: Bench, reached: Reached
) -> None:
    app, _ = opened(bench, reached)
    with TestClient(app, base_url="https://testserver") as client:
        cookie = client.post("/chat", json={"message": "x"}).headers["set-cookie"]
    assert {"HttpOnly", "SameSite=Lax", "Secure", "Path=/"} <= set(cookie.split("; "))


def test_a_session_before_login_is_not_the_user_after_it(bench: Bench, reached: Reached) -> None:
    app, safety = opened(bench, reached, user=user_header)
    with TestClient(app) as client:
        for user in (None, None, "ann", "ben", "ann"):
            headers = {} if user is None else {"x-user": user}
            client.post("/chat", json={"message": "x"}, headers=headers)
    address, session, ann, ben, again = map(str, identities(safety))
    assert (address[:3], session[:3], ann[:3], ben[:3]) == ("a1_", "s1_", "u1_", "u1_")
    assert ann == again != ben


@pytest.mark.parametrize("value", [True, object(), b"x"])
def test_what_is_no_id_is_an_error_and_no_user(bench: Bench, reached: Reached, value: Any) -> None:
    def gives(_request: Request) -> Any:
        return value

    app, _ = opened(bench, reached, user=gives)
    with TestClient(app) as client, pytest.raises(SettingsError, match="Return the user's id"):
        client.post("/chat", json={"message": "x"})
    assert reached.texts == []


def test_a_callable_that_fails_lets_nobody_in(bench: Bench, reached: Reached) -> None:
    async def fails(_request: Request) -> str:
        raise LookupError("the app's own")

    app, _ = opened(bench, reached, user=fails)
    with TestClient(app) as client, pytest.raises(LookupError):
        client.post("/chat", json={"message": "x"})
    assert reached.texts == []


def test_a_session_that_is_not_there_is_an_error_with_the_line_to_write(
    bench: Bench, reached: Reached
) -> None:
    app, _ = opened(bench, reached, user=user_session)
    with TestClient(app) as client, pytest.raises(SettingsError, match=r"SessionMiddleware.*line"):
        client.post("/chat", json={"message": "x"})


@pytest.mark.parametrize("first", [True, False])
def test_the_session_is_seen_whichever_middleware_was_added_first(
    bench: Bench, reached: Reached, first: bool
) -> None:
    safety = bench.safety(settings={"user": user_session_or_nobody}, moderation=False)
    app = bench.app([Route("/chat", reached.handler, methods=["POST"])])
    if first:
        app.add_middleware(SessionMiddleware, secret_key="x" * 32)
    app.add_middleware(SafetyMiddleware, safety=safety)
    if not first:
        app.add_middleware(SessionMiddleware, secret_key="x" * 32)
    with TestClient(app) as client:
        assert client.post("/chat", json={"message": "x"}).status_code == 200
    assert str(identities(safety)[0]).startswith("u1_")
