"""What is protected is what Werkzeug's router resolves, however the path was written."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from flask import Blueprint, Flask, request
from flask.views import MethodView
from werkzeug.middleware.dispatcher import DispatcherMiddleware

from safety_middleware import (
    Policy,
    current_turn,
)
from safety_middleware.turn import find_turn
from safety_middleware_flask import protect

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
