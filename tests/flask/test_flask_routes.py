"""What is protected is what Werkzeug's router resolves, however the path was written."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Callable
from typing import Any

import pytest
from flask import Blueprint, Flask, request
from flask.views import MethodView
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.middleware.proxy_fix import ProxyFix

from safety_middleware import (
    EndpointUnprotected,
    Policy,
    Safety,
    Settings,
    SettingsError,
    current_turn,
)
from safety_middleware.testing import FakeOpenAI
from safety_middleware.turn import find_turn
from safety_middleware_flask import SafetyMiddleware, _binding, exempt, protect

Guard = Callable[..., Any]


def chat_app(rule: str = "/chat", **options: Any) -> Flask:
    app = Flask("chats")

    @app.route(rule, methods=options.pop("methods", ["POST"]), **options)
    def chat(**_: Any) -> str:
        turn = find_turn()
        return "unguarded" if turn is None else turn.route.name

    return app


@pytest.mark.parametrize("path", ["/chat", "/%63hat", "/chat?tail", "/chat#fragment"])
def test_a_path_is_protected_however_it_is_written(guard: Guard, path: str) -> None:
    site = guard(chat_app())
    reply = site.client.post(path, json={"message": "say UNSAFE"})
    assert reply.status_code == 400


def test_a_path_info_with_two_slashes_is_the_rule_it_resolves_to(guard: Guard, gated: Any) -> None:
    from werkzeug.test import create_environ

    site = guard(chat_app())
    environ = create_environ("/", method="POST", json={"message": "say UNSAFE"})
    for path in ("//chat", "chat"):
        environ["PATH_INFO"] = path
        environ["wsgi.input"].seek(0)
        with gated(site.app, environ) as (_, events):
            assert events[0][0].startswith("400")


def test_a_pattern_with_other_parameter_names_is_the_same_template(guard: Guard) -> None:
    app = chat_app("/c/<int:number>/messages")
    site = guard(app, routes={"/c/{id}/messages": Policy()})
    assert site.post("hello", "/c/7/messages").text == "/c/<int:number>/messages"
    assert site.post("UNSAFE", "/c/7/messages").status_code == 400


def test_a_blueprint_counts_with_its_prefix(guard: Guard) -> None:
    blueprint = Blueprint("bots", "bots", url_prefix="/api")

    @blueprint.post("/chat")
    def chat() -> str:
        return current_turn().route.name

    app = Flask("blue")
    app.register_blueprint(blueprint)
    site = guard(app)
    assert site.post("hello", "/api/chat").text == "/api/chat"
    assert site.post("UNSAFE", "/api/chat").status_code == 400


@pytest.mark.parametrize("pattern", ["/chat", "/bots/chat", "/bots/*"])
def test_a_mounted_app_is_guarded_by_its_own_rule_or_with_the_mount(
    guard: Guard, pattern: str
) -> None:
    site = guard(chat_app(), routes=[pattern])
    outer = Flask("outer")
    outer.wsgi_app = DispatcherMiddleware(outer.wsgi_app, {"/bots": site.app})  # type: ignore[method-assign]
    client = outer.test_client()
    assert client.post("/bots/chat", json={"message": "UNSAFE"}).status_code == 400
    assert client.post("/bots/chat", json={"message": "hello"}).status_code == 200


def test_a_redirect_to_the_trailing_slash_counts_no_turn(guard: Guard) -> None:
    site = guard(chat_app("/chat/"), routes=["/chat/"])
    reply = site.client.post("/chat", json={"message": "hello"}, follow_redirects=True)
    assert reply.text == "/chat/"
    site.record()
    assert site.no_record()


def test_unprotected_methods_and_rules_have_no_turn(guard: Guard) -> None:
    app = chat_app(methods=["GET", "POST"])
    app.add_url_rule("/other", view_func=app.view_functions["chat"], methods=["POST"])
    site = guard(app)
    assert site.client.get("/chat").text == "unguarded"
    assert site.post("UNSAFE", "/other").text == "unguarded"
    assert site.post("UNSAFE", "/nowhere").status_code == 404
    assert site.client.delete("/chat").status_code == 405
    assert site.no_record()


def test_head_is_protected_with_get(guard: Guard) -> None:
    site = guard(chat_app(methods=["GET"]), methods=("GET",), routes=["/chat"])
    refused = site.client.head("/chat?message=UNSAFE")
    assert (refused.status_code, refused.data) == (400, b"")
    assert site.client.get("/chat?message=UNSAFE").status_code == 400
    allowed = site.client.head("/chat?message=hello")
    assert (allowed.status_code, allowed.data) == (200, b"")


def test_a_method_that_the_app_overrides_later_is_guarded_all_the_same(guard: Guard) -> None:
    app = Flask("overriding")

    class Chat(MethodView):
        def get(self) -> str:
            return "form"

        def post(self) -> str:
            return "answered"

    app.add_url_rule("/chat", view_func=Chat.as_view("chat"))

    @app.before_request
    def override() -> None:
        request.method = request.headers.get("X-HTTP-Method-Override", request.method)

    site = guard(app)
    headers = {"X-HTTP-Method-Override": "POST"}
    unsafe, safe = "/chat?message=UNSAFE", "/chat?message=hello"
    assert site.client.get(unsafe).text == "form"
    assert site.client.get(unsafe, headers=headers).status_code == 400
    assert site.record().reason == "content_blocked"
    assert site.client.get(safe, headers=headers).text == "answered"
    assert site.record().reason == "ok"


def test_a_batch_that_dispatches_requests_inside_a_view_is_guarded(guard: Guard) -> None:
    app = chat_app()

    @app.post("/batch")
    def batch() -> Any:
        answers: list[int] = []
        for message in request.get_json():
            with app.test_request_context("/chat", method="POST", json={"message": message}):
                answer = app.preprocess_request() or app.dispatch_request()
                answers.append(app.make_response(answer).status_code)
        return answers

    site = guard(app)
    assert site.client.post("/batch", json=["hello", "UNSAFE"]).json == [200, 400]
    assert [site.record().reason for _ in range(2)] == ["ok", "content_blocked"]


def test_a_batch_of_unprotected_requests_is_left_alone(guard: Guard) -> None:
    app = chat_app("/other")

    @app.get("/marked")
    @protect(methods=("POST",))
    def marked() -> str:
        return "marked"

    app.add_url_rule("/marked", "posted", marked, methods=["POST"])
    site = guard(app)
    for path, method in (("/other", "POST"), ("/marked", "GET")):
        with site.app.test_request_context(path, method=method):
            assert site.app.full_dispatch_request().status_code == 200
    with site.app.test_request_context("/nowhere"):
        assert site.app.full_dispatch_request().status_code == 404


# Marks


def test_a_marked_view_is_protected_wherever_it_is(guard: Guard) -> None:
    app = Flask("marks")

    @app.post("/talk")
    @protect(max_input_chars=10)
    def talk() -> str:
        return "ok"

    site = guard(app)
    assert site.post("hello", "/talk").text == "ok"
    assert site.post("hello, hello", "/talk").status_code == 413


def test_a_mark_outside_the_route_decorator_does_not_count_but_does_no_harm(guard: Guard) -> None:
    app = Flask("marks")

    @protect
    @app.post("/chat")
    def talk() -> str:
        return "ok"

    site = guard(app)
    assert site.post().text == "ok"
    assert talk.__name__ == "talk"


def test_an_exempt_view_is_left_alone(guard: Guard) -> None:
    app = Flask("marks")

    @app.post("/chat")
    @exempt
    def chat() -> str:
        return "ok"

    site = guard(app, routes=["/chat"])
    assert site.post("UNSAFE").text == "ok"
    assert site.no_record()


def test_async_views_are_protected(guard: Guard) -> None:
    app = Flask("marks")

    @app.post("/talk")
    @protect
    async def talk() -> str:
        return current_turn().route.name

    site = guard(app)
    assert site.post("hello", "/talk").text == "/talk"
    assert site.post("UNSAFE", "/talk").status_code == 400


def test_a_view_class_is_protected_through_dispatch_request(guard: Guard) -> None:
    app = Flask("marks")

    @protect(max_input_chars=5)
    class Talk(MethodView):
        def post(self) -> str:
            return "ok"

        def get(self) -> str:
            return "form"

    app.add_url_rule("/talk", view_func=Talk.as_view("talk"))
    site = guard(app)
    assert site.post("hello", "/talk").text == "ok"
    assert site.post("hello!", "/talk").status_code == 413
    assert site.client.get("/talk").text == "form"


def test_a_mark_on_one_method_of_a_class_counts_for_that_method(guard: Guard) -> None:
    app = Flask("marks")

    class Talk(MethodView):
        @protect(methods=("GET",), max_input_chars=5)
        def get(self) -> str:
            return "got"

        def post(self) -> str:
            return "posted"

    app.add_url_rule("/talk", view_func=Talk.as_view("talk"))
    site = guard(app)
    assert site.client.get("/talk?q=hello").text == "got"
    assert site.client.get("/talk?q=hello!").status_code == 413
    assert site.client.head("/talk?q=hello!").status_code == 413
    assert site.post("UNSAFE", "/talk").text == "posted"


def test_a_marked_generator_view_runs_guarded_in_every_method(guard: Guard) -> None:
    app = Flask("marks")

    @app.route("/talk", methods=["GET", "POST"])
    @protect
    def talk() -> Any:
        yield "a"
        yield "b"

    site = guard(app)
    assert site.post("hello", "/talk").text == "ab"
    assert site.client.get("/talk").text == "ab"
    with site.client.get("/talk", buffered=False) as reply:
        assert next(iter(reply.response)) == b"a"


def test_marks_are_methods_of_the_extension_too(guard: Guard) -> None:
    middleware = SafetyMiddleware()
    app = Flask("marks")

    @app.post("/talk")
    @middleware.protect(max_input_chars=5)
    def talk() -> str:
        return "ok"

    @app.post("/chat")
    @middleware.exempt
    def chat() -> str:
        return "ok"

    site = guard(app)
    assert site.post("hello!", "/talk").status_code == 413
    assert site.post("UNSAFE").text == "ok"


def test_a_marked_view_without_the_middleware_raises(fake: FakeOpenAI) -> None:
    app = Flask("bare")

    @app.post("/chat")
    @protect
    def chat() -> str:
        raise AssertionError("not reached")

    app.testing = True
    with pytest.raises(EndpointUnprotected, match="SafetyMiddleware"):
        app.test_client().post("/chat")


# Errors of the operator


def test_a_route_that_is_not_there_is_an_error_at_the_first_request(guard: Guard) -> None:
    site = guard(chat_app("/chats"), routes=["/chat"])
    for _ in range(2):
        with pytest.raises(SettingsError, match=r"'/chat' matches no route.*/chats"):
            site.client.get("/anything")


def test_apps_of_one_engine_share_its_routes(guard: Guard, fake: FakeOpenAI) -> None:
    safety = Safety(Settings(routes=("/chat", "/talk"), secret="s" * 40))
    middleware = SafetyMiddleware(safety=safety)
    first, second = chat_app("/chat"), chat_app("/talk")
    middleware.init_app(first)
    middleware.init_app(second)
    assert middleware.safety is safety
    for app, path in ((first, "/chat"), (second, "/talk")):
        assert app.test_client().post(path, json={"m": "UNSAFE"}).status_code == 400
    safety.close()


def test_a_marked_view_without_a_protected_method_is_an_error(guard: Guard) -> None:
    app = Flask("marks")

    @app.get("/talk")
    @protect
    def talk() -> str:
        return "ok"

    site = guard(app)
    with pytest.raises(SettingsError, match=r"/talk.*GET.*protect\(methods="):
        site.client.get("/talk")


@pytest.mark.parametrize("observe", [False, True])
def test_a_protected_websocket_rule_is_refused_at_start(guard: Guard, observe: bool) -> None:
    app = Flask("sockets")
    app.add_url_rule("/chat/ws", view_func=lambda: "ws", websocket=True)
    app.add_url_rule("/chat", "chat", lambda: "ok", methods=["GET"])
    site = guard(app, methods=("*",), observe=observe)
    if observe:
        assert site.client.get("/chat").text == "ok"
        assert site.client.get("/chat/ws", headers={"Upgrade": "websocket"}).status_code == 400
    else:
        with pytest.raises(SettingsError, match="WebSocket"):
            site.client.get("/chat")


def test_settings_are_wrong_at_once(guard: Guard) -> None:
    with pytest.raises(SettingsError, match="max_input_chars"):
        guard(chat_app(), max_input_char=3)
    app = chat_app()
    app.config["SAFETY_MAX_INPUT_CHARS"] = 0
    with pytest.raises(SettingsError, match="max_input_chars"):
        guard(app)


def test_settings_come_from_the_apps_config(guard: Guard) -> None:
    app = chat_app()
    app.config["SAFETY_MAX_INPUT_CHARS"] = 5
    assert guard(app).post("hello!").status_code == 413


def test_an_app_can_be_guarded_once(guard: Guard, fake: FakeOpenAI) -> None:
    site = guard(chat_app())
    with pytest.raises(SettingsError, match="already"):
        SafetyMiddleware(site.app)
    middleware = SafetyMiddleware(secret="s" * 40)
    app = chat_app()
    with pytest.raises(SettingsError, match="app_context"):
        _ = middleware.safety
    middleware.init_app(app)
    only = middleware.safety
    middleware.init_app(app)
    assert middleware.safety is only
    other = chat_app()
    middleware.init_app(other)
    with other.app_context():
        assert middleware.safety is not only
        middleware.safety.close()
    with app.app_context():
        assert middleware.safety is only
    with chat_app().app_context(), pytest.raises(SettingsError):
        _ = middleware.safety
    only.close()


def test_rules_are_looked_at_once_and_remembered_within_bounds(
    guard: Guard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_binding, "MOST_KNOWN", 0)
    site = guard(chat_app())
    for _ in range(2):
        assert site.post("UNSAFE").status_code == 400
    binding = site.app.extensions["safety_middleware"].binding
    binding.bind(site.app, (), "")
    assert binding.bound


def test_no_thread_runs_before_the_first_turn(guard: Guard) -> None:
    before = threading.active_count()
    site = guard(chat_app())  # a server may fork now
    assert threading.active_count() == before
    site.post()
    assert threading.active_count() > before


# How the app is held


def test_an_app_is_freed_by_its_count(guard: Guard) -> None:
    app = chat_app()
    safety = Safety(Settings(secret="s" * 40))
    gc.disable()
    try:
        SafetyMiddleware(app, safety=safety)
        there = weakref.ref(app)
        del app
        assert there() is None
    finally:
        gc.enable()
        safety.close()


def test_an_app_lives_on_in_a_middleware_that_holds_only_its_wsgi_app(guard: Guard) -> None:
    def factory() -> Any:
        return ProxyFix(guard(chat_app()).app.wsgi_app)

    from werkzeug.test import Client

    wsgi = factory()
    gc.collect()
    assert Client(wsgi).post("/chat", json={"message": "UNSAFE"}).status_code == 400


@pytest.mark.parametrize("when", ["before", "after"])
def test_middlewares_of_wsgi_work_inside_and_outside(guard: Guard, when: str) -> None:
    app = chat_app()
    if when == "before":
        app.wsgi_app = ProxyFix(app.wsgi_app)  # type: ignore[method-assign]
    site = guard(app)
    if when == "after":
        app.wsgi_app = ProxyFix(app.wsgi_app)  # type: ignore[method-assign]
    assert site.post("UNSAFE").status_code == 400
    assert site.post("hello").status_code == 200


def test_a_guarded_app_still_looks_like_its_class(guard: Guard) -> None:
    class Bot(Flask):
        def dispatch_request(self) -> Any:
            return super().dispatch_request()

    app = Bot("bot")
    app.add_url_rule("/chat", "chat", lambda: "ok", methods=["POST"])
    site = guard(app)
    assert isinstance(app, Bot)
    assert repr(app) == "<Bot 'bot'>"
    assert type(app).__qualname__ == Bot.__qualname__
    assert site.post("UNSAFE").status_code == 400
