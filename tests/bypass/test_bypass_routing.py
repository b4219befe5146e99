"""Ways round the routes: what reaches a protected endpoint has been checked, however it came."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Annotated, Any

import pytest
from fastapi import APIRouter, Body, Depends, FastAPI
from starlette.applications import Starlette
from starlette.endpoints import HTTPEndpoint
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Host, Match, Mount, Route, Router, WebSocketRoute
from starlette.types import Message, Receive, Scope, Send
from starlette.websockets import WebSocket

from safety_middleware import EndpointUnprotected, Policy, SettingsError
from safety_middleware_starlette import SafetyMiddleware, exempt, protect

from .conftest import BAD, Bench, Endpoint, Reached, blocked, raw, say, written


def post(path: str, endpoint: Any) -> Route:
    return Route(path, endpoint, methods=["POST"])


@pytest.mark.parametrize("template", ["/chat/{message}", "/chat/{rest:path}", "/{a}/{b}"])
def test_text_in_the_path_is_checked(bench: Bench, reached: Reached, template: str) -> None:
    client = bench.serve(bench.guarded([post(template, reached.handler)]))
    assert blocked(client.post(f"/chat/{BAD}"))
    assert reached.texts == []
    assert client.post("/chat/how are you").status_code == 200


def test_text_in_the_path_of_a_named_get_is_checked(bench: Bench, reached: Reached) -> None:
    app = bench.guarded([Route("/chat/{q}", reached.handler)], methods=("GET",))
    assert blocked(bench.serve(app).get(f"/chat/{BAD}"))
    assert reached.texts == []


def test_text_in_the_path_of_an_app_without_routes_is_checked(
    bench: Bench, reached: Reached
) -> None:
    client = bench.serve(SafetyMiddleware(reached.asgi, safety=bench.safety()))
    assert blocked(client.post(f"/chat/{BAD}"))
    assert reached.texts == []


@pytest.mark.parametrize("method", ["post", "FOO", "GET", "OPTIONS", "HEAD"])
def test_no_method_carries_a_body_past_an_endpoint_that_answers_all(
    bench: Bench, reached: Reached, method: str
) -> None:
    client = bench.serve(bench.guarded([Route("/chat", Endpoint(reached.asgi))]))
    raw(client, written(method, "/chat", {"message": BAD}))
    assert reached.texts == []


def test_a_route_of_a_method_nobody_knows_is_protected(bench: Bench, reached: Reached) -> None:
    app = bench.guarded([Route("/chat", reached.handler, methods=["CHAT"])])
    assert blocked(say(bench.serve(app), method="CHAT"))


def test_a_get_that_carries_a_body_is_checked_and_one_without_is_not(
    bench: Bench, reached: Reached
) -> None:
    app = bench.guarded([Route("/chat", reached.handler, methods=["GET", "POST"])])
    client = bench.serve(app)
    assert blocked(say(client, method="GET"))
    assert reached.texts == []
    assert client.get("/chat").status_code == 200
    assert bench.fake.calls("/moderations")[1:] == []


def test_methods_the_operator_names_are_the_only_ones(bench: Bench, reached: Reached) -> None:
    app = bench.guarded([Route("/chat", Endpoint(reached.asgi))], methods=("POST",))
    client = bench.serve(app)
    assert say(client, method="PUT").status_code == 200
    assert blocked(say(client))


def test_a_body_that_http_2_did_not_announce_is_not_read(bench: Bench, reached: Reached) -> None:
    app = bench.guarded([Route("/chat", Endpoint(reached.asgi))])
    messages: list[Message] = [
        {"type": "http.request", "body": BAD.encode(), "more_body": True},
        {"type": "http.request", "body": b"more"},
    ]

    async def receive() -> Message:
        return messages.pop(0)

    async def send(_message: Message) -> None:
        pass

    scope = _scope("/chat", method="GET", http_version="2")
    asyncio.run(app(scope, receive, send))
    assert reached.texts == ["b'' /chat"]
    assert messages == []


def test_override_headers_change_nothing(bench: Bench, reached: Reached) -> None:
    client = bench.serve(bench.guarded([post("/chat", reached.handler)]))
    answer = raw(client, written("POST", "/chat", {"message": BAD}, "X-HTTP-Method-Override: GET"))
    assert answer.startswith(b"HTTP/1.1 400")
    assert reached.texts == []


@pytest.mark.parametrize("upgrade", ["websocket", "h2c"])
def test_an_upgrade_is_no_way_round(bench: Bench, reached: Reached, upgrade: str) -> None:
    client = bench.serve(bench.guarded([post("/chat", reached.handler)]))
    raw(client, written("POST", "/chat", {"message": BAD}, f"Upgrade: {upgrade}"))
    assert reached.texts == []


def test_mounts_in_mounts_and_hosts_are_found(bench: Bench, reached: Reached) -> None:
    chat = post("/chat", reached.handler)
    deep = Mount("/a", routes=[Mount("/b", app=Starlette(routes=[chat]))])
    host = Host("127.0.0.1", app=Router([post("/hosted", reached.handler)]))
    client = bench.serve(bench.guarded([deep, host], ["/a/b/chat", "/hosted"]))
    assert blocked(say(client, "/a/b/chat"))
    assert blocked(say(client, "/hosted"))


@pytest.mark.parametrize(
    ("mounted_at", "pattern"),
    [
        ("/legacy", "/legacy/chat"),
        ("/legacy", "/{any}/chat"),
        ("/legacy", "/legacy/*"),
        ("/{tenant}", "/legacy/*"),
        ("/{tenant}", "/legacy/chat"),
        ("/", "/legacy/chat"),
        ("/", "/*"),
    ],
)
def test_an_app_mounted_without_visible_routes_is_guarded_by_path(
    bench: Bench, reached: Reached, mounted_at: str, pattern: str
) -> None:
    app = bench.guarded([Mount(mounted_at, app=reached.asgi)], [pattern])
    assert blocked(say(bench.serve(app), "/legacy/chat"))
    assert reached.texts == []


class OwnRoute(BaseRoute):
    """A kind of route that Starlette does not bring."""

    def __init__(self, path: str, app: Any) -> None:
        self.path = path
        self.app = app

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        return (Match.FULL if scope["path"] == self.path else Match.NONE), {}

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.app(scope, receive, send)


def test_routes_of_an_unknown_kind_are_guarded_by_path(bench: Bench, reached: Reached) -> None:
    client = bench.serve(bench.guarded([OwnRoute("/chat", reached.asgi)]))
    assert blocked(say(client))


def test_what_a_router_falls_back_to_is_guarded_by_path(bench: Bench, reached: Reached) -> None:
    app = Starlette()
    app.router.default = reached.asgi
    app.add_middleware(SafetyMiddleware, safety=bench.safety())
    client = bench.serve(app)
    assert blocked(say(client))
    assert say(client, "/other").status_code == 200


@pytest.mark.parametrize("patterns", [None, ["/chat"], ["/chat*"], ["/*"]])
@pytest.mark.parametrize("template", ["/{rest:path}", "/{page}"])
def test_a_catch_all_is_guarded_where_its_path_is_one_of_a_pattern(
    bench: Bench, reached: Reached, template: str, patterns: Any
) -> None:
    client = bench.serve(bench.guarded([post(template, reached.handler)], patterns))
    assert blocked(say(client))
    assert reached.texts == []
    if patterns != ["/*"]:
        assert say(client, "/other").status_code == 200


def test_an_exempt_catch_all_stays_exempt(bench: Bench, reached: Reached) -> None:
    @exempt
    async def open_(request: Request) -> Response:
        return await reached.handler(request)

    client = bench.serve(bench.guarded([post("/{rest:path}", open_)]))
    assert say(client).status_code == 200


class Wrapped:
    """A middleware that does not show the app it wraps."""

    def __init__(self, app: Any) -> None:
        self._hidden = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._hidden(scope, receive, send)


def test_an_app_behind_a_closed_wrapper_is_guarded_by_path(bench: Bench, reached: Reached) -> None:
    inner = Starlette(routes=[post("/chat", reached.handler)])
    client = bench.serve(SafetyMiddleware(Wrapped(inner), safety=bench.safety()))
    assert blocked(say(client))


def test_a_mark_that_can_not_be_seen_is_no_mark_in_silence(bench: Bench) -> None:
    @protect
    async def marked(request: Request) -> Response:
        return PlainTextResponse("reached")

    inner = Starlette(routes=[post("/marked", marked)])
    app = SafetyMiddleware(Wrapped(inner), safety=bench.safety())
    with pytest.raises(EndpointUnprotected):
        _call(app, "/marked")
    started = SafetyMiddleware(Wrapped(inner), safety=bench.safety())
    assert blocked(say(bench.serve(started), "/marked"))  # its start showed the app


@pytest.mark.parametrize("path", ["/x/chat", "/sub/chat", "/route/chat", "/level/chat"])
def test_a_middleware_inside_a_router_guards_what_is_below_it(
    bench: Bench, reached: Reached, path: str
) -> None:
    chat = post("/chat", reached.handler)
    own = [Middleware(SafetyMiddleware, safety=bench.safety(["/*"]))]
    routes = [
        Mount("/x", app=SafetyMiddleware(reached.asgi, safety=bench.safety())),
        Mount("/sub", app=SafetyMiddleware(Starlette(routes=[chat]), safety=bench.safety())),
        Route("/route/chat", reached.handler, methods=["POST"], middleware=own),
        Mount("/level", routes=[chat], middleware=own),
    ]
    assert blocked(say(bench.serve(Starlette(routes=routes)), path))
    assert reached.texts == []


@pytest.mark.parametrize(("outer", "inner"), [(None, []), ([], None), (None, None)])
def test_two_middlewares_guard_what_each_was_told_to(
    bench: Bench, reached: Reached, outer: Any, inner: Any
) -> None:
    app = Starlette(routes=[post("/chat", reached.handler)])
    app.add_middleware(SafetyMiddleware, safety=bench.safety(inner))
    app.add_middleware(SafetyMiddleware, safety=bench.safety(outer))
    client = bench.serve(app)
    assert blocked(say(client))
    assert reached.texts == []
    assert client.post("/chat", json={"message": "hello"}).status_code == 200


def test_a_mounted_app_with_a_middleware_of_its_own_is_guarded_by_both(
    bench: Bench, reached: Reached
) -> None:
    sub = bench.guarded([post("/chat", reached.handler)], [])
    client = bench.serve(bench.guarded([Mount("/api", app=sub)], ["/api/chat"]))
    assert blocked(say(client, "/api/chat"))


def test_one_engine_that_stands_twice_counts_a_turn_once(bench: Bench, reached: Reached) -> None:
    safety = bench.safety(anonymous_limits="1/minute")
    app = Starlette(routes=[post("/chat", reached.handler)])
    for _ in range(2):
        app.add_middleware(SafetyMiddleware, safety=safety)
    client = bench.serve(app)
    assert client.post("/chat", json={"message": "hello"}).status_code == 200
    assert safety.store.flush()
    assert len(safety.store.latest()) == 1


def test_one_route_object_in_two_apps_is_guarded_by_the_one_that_was_called(
    bench: Bench, reached: Reached
) -> None:
    shared = post("/chat", reached.handler)
    strict, lax = bench.guarded([shared]), bench.guarded([shared], observe=True)
    assert say(bench.serve(lax)).status_code == 200
    assert blocked(say(bench.serve(strict)))


def test_an_app_mounted_twice_has_at_each_place_the_rules_of_that_place(
    bench: Bench, reached: Reached
) -> None:
    sub = Starlette(routes=[post("/chat", reached.handler), post("/other", reached.handler)])
    patterns = {"/public/chat": Policy(observe=True), "/api/chat": Policy(), "/v1/other": Policy()}
    mounts = [Mount(path, app=sub) for path in ("/public", "/api", "/v1")]
    client = bench.serve(bench.guarded(mounts, patterns))
    assert say(client, "/public/chat").status_code == 200
    assert blocked(say(client, "/api/chat"))
    assert say(client, "/v1/chat").status_code == 200
    assert blocked(say(client, "/v1/other"))
    assert say(client, "/api/other").status_code == 200


@pytest.mark.parametrize("root", ["", "/proxied"])
def test_a_root_path_changes_nothing(bench: Bench, reached: Reached, root: str) -> None:
    sub = Starlette(routes=[post("/chat", reached.handler)])
    routes = [Mount("/a", app=sub), Mount("/b", app=sub), Mount("/c", app=reached.asgi)]
    app = bench.guarded(routes, ["/b/chat", "/c/chat"])
    assert _call(app, f"{root}/b/chat", root_path=root) == 400
    assert _call(app, f"{root}/c/chat", root_path=root) == 400
    assert _call(app, f"{root}/a/chat", root_path=root) == 200


def test_routes_that_come_or_change_while_the_app_runs_are_guarded(
    bench: Bench, reached: Reached
) -> None:
    app = bench.guarded([post("/old", reached.handler)])
    client = bench.serve(app)
    assert say(client, "/old").status_code == 200
    app.router.routes[0] = post("/chat", reached.handler)
    assert blocked(say(client))
    app.router.routes = [*app.router.routes, post("/chat/new", reached.handler)]
    assert blocked(say(client, "/chat/new"))
    app.router.routes.append(post("/chat/newer", reached.handler))
    assert blocked(say(client, "/chat/newer"))


async def socket_endpoint(websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.send_text(await websocket.receive_text())


def test_a_late_websocket_route_opens_no_other_route(bench: Bench, reached: Reached) -> None:
    app = bench.guarded([post("/old", reached.handler)])
    assert _call(app, "/old") == 200
    app.router.routes += [WebSocketRoute("/chat", socket_endpoint), post("/chat", reached.handler)]
    for _ in range(3):
        with pytest.raises(SettingsError, match="WebSocket"):
            _call(app, "/chat")
    assert len(reached.texts) == 1


def test_a_protected_websocket_is_an_error_at_start_unless_exempt_or_observed(bench: Bench) -> None:
    app = bench.guarded([WebSocketRoute("/chat", socket_endpoint)])
    with pytest.raises(SettingsError, match=r"'/chat' is a WebSocket route.*@exempt"):
        _call(app, "/chat")

    @exempt
    async def open_(websocket: WebSocket) -> None:
        await socket_endpoint(websocket)

    _call(bench.guarded([WebSocketRoute("/chat", open_)]), "/x")
    _call(bench.guarded([WebSocketRoute("/chat", socket_endpoint)], observe=True), "/x")


def test_an_included_websocket_is_found_too(bench: Bench) -> None:
    router, app = APIRouter(), FastAPI()
    router.websocket("/chat")(socket_endpoint)
    app.include_router(router)
    app.add_middleware(SafetyMiddleware, safety=bench.safety())
    with pytest.raises(SettingsError, match="WebSocket"):
        _call(app, "/x")


@pytest.mark.parametrize(("observe", "sent"), [(False, "websocket.close"), (True, "reached")])
def test_a_websocket_to_an_app_without_visible_routes_is_refused(
    bench: Bench, observe: bool, sent: str
) -> None:
    seen: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "reached"})

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    async def send(message: Message) -> None:
        seen.append(message["type"])

    guarded = SafetyMiddleware(app, safety=bench.safety(observe=observe))
    asyncio.run(guarded({"type": "websocket", "path": "/chat", "headers": []}, receive, send))
    assert seen == [sent]


def test_nested_routers_of_fastapi_are_guarded_whenever_they_grow(
    bench: Bench, reached: Reached
) -> None:
    inner, outer, app = APIRouter(), APIRouter(), FastAPI()
    inner.add_api_route("/chat", _fastapi(reached), methods=["POST"])
    outer.include_router(inner, prefix="/in")
    outer.mount("/sub", Starlette(routes=[post("/chat", reached.handler)]))
    outer.mount("/opaque", reached.asgi)
    app.include_router(outer, prefix="/out")
    app.mount("/s", Starlette(routes=[post("/chat", reached.handler)]))
    app.add_middleware(SafetyMiddleware, safety=bench.safety(["/out/*", "/s/chat"]))
    inner.add_api_route("/after", _fastapi(reached), methods=["POST"])
    client = bench.serve(app)
    paths = ["/out/in/chat", "/out/in/after", "/out/sub/chat", "/out/opaque/chat", "/s/chat"]
    assert all(blocked(say(client, path)) for path in paths)
    inner.add_api_route("/late", _fastapi(reached), methods=["POST"])
    outer.add_api_route("/late", _fastapi(reached), methods=["POST"])
    assert blocked(say(client, "/out/in/late"))
    assert blocked(say(client, "/out/late"))
    assert reached.texts == []


def _fastapi(reached: Reached) -> Any:
    async def endpoint(request: Request) -> Response:
        return await reached.handler(request)

    return endpoint


async def reads(request: Request, body: Annotated[dict[str, Any], Body()]) -> str:
    request.app.state.ran.append("reads")
    return str(body) + str(await request.body())


async def asks(request: Request, text: Annotated[str, Depends(reads)]) -> str:
    request.app.state.ran.append("asks")
    return text


def test_dependencies_run_after_the_check(bench: Bench) -> None:
    app = FastAPI()
    ran: list[str] = []
    app.state.ran = ran

    @app.post("/chat")
    async def chat(text: Annotated[str, Depends(asks)]) -> str:
        return text

    app.add_middleware(SafetyMiddleware, safety=bench.safety())
    client = bench.serve(app)
    assert blocked(say(client))
    assert ran == []
    assert client.post("/chat", json={"message": "hello"}).status_code == 200
    assert ran == ["reads", "asks"]


def test_middlewares_round_the_route_are_no_way_round_it(bench: Bench, reached: Reached) -> None:
    class Passing(BaseHTTPMiddleware):
        async def dispatch(self, request: Request, call_next: Any) -> Response:
            await request.body()
            answer: Response = await call_next(request)
            return answer

    inside = Route(
        "/chat", reached.handler, methods=["POST"], middleware=[Middleware(GZipMiddleware)]
    )
    app = bench.guarded([inside])
    app.add_middleware(Passing)
    app.add_middleware(GZipMiddleware)
    client = bench.serve(app)
    assert blocked(say(client))
    assert client.post("/chat", json={"message": "hello"}).text == "reached"


def test_a_redirect_to_the_slash_is_counted_once(bench: Bench, reached: Reached) -> None:
    safety = bench.safety()
    app = Starlette(routes=[post("/chat/x/", reached.handler)])
    app.add_middleware(SafetyMiddleware, safety=safety)
    client = bench.serve(app)
    answer = client.post("/chat/x", json={"message": "hi"}, follow_redirects=True)
    assert answer.status_code == 200
    assert safety.store.flush()
    assert len(safety.store.latest()) == 1
    assert blocked(client.post("/chat/x", json={"message": BAD}, follow_redirects=True))


class Classed(HTTPEndpoint):
    async def post(self, request: Request) -> Response:
        return PlainTextResponse(await request.body())


def test_class_based_endpoints_and_partials_are_guarded(bench: Bench) -> None:
    async def two(greeting: str, request: Request) -> Response:
        return PlainTextResponse(greeting)

    routes = [Route("/chat", Classed), post("/chat/partial", partial(two, "hello"))]
    client = bench.serve(bench.guarded(routes))
    assert blocked(say(client))
    assert blocked(say(client, "/chat/partial"))
    assert client.post("/chat/partial", json={"message": "hi"}).text == "hello"


def _scope(path: str, **more: Any) -> dict[str, Any]:
    return {
        "type": "http",
        "method": "POST",
        "http_version": "1.1",
        "path": path,
        "root_path": "",
        "query_string": b"",
        "headers": [],
        "client": ("127.0.0.1", 1),
        "scheme": "http",
        **more,
    }


def _call(app: Any, path: str, **more: Any) -> int:
    """Call an ASGI app in process, so that what it raises is seen; gives the status."""
    statuses: list[int] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": BAD.encode()}

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    headers = [(b"content-type", b"text/plain"), (b"content-length", b"27")]
    asyncio.run(app(_scope(path, headers=headers, **more), receive, send))
    return statuses[0]
