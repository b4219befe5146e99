"""The extension: its settings, its errors at start, several apps, and how it holds them."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from werkzeug.middleware.proxy_fix import ProxyFix

from safety_middleware import (
    Safety,
    Settings,
    SettingsError,
)
from safety_middleware.testing import FakeOpenAI
from safety_middleware.turn import find_turn
from safety_middleware_flask import SafetyMiddleware, _binding, protect

Guard = Callable[..., Any]


def chat_app(rule: str = "/chat", **options: Any) -> Flask:
    app = Flask("chats")

    @app.route(rule, methods=options.pop("methods", ["POST"]), **options)
    def chat(**_: Any) -> str:
        turn = find_turn()
        return "unguarded" if turn is None else turn.route.name

    return app


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
