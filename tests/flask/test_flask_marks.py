"""``protect`` and ``exempt`` on functions, coroutines, generators and classes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from flask.views import MethodView

from safety_middleware import (
    EndpointUnprotected,
    current_turn,
)
from safety_middleware.testing import FakeOpenAI
from safety_middleware_flask import SafetyMiddleware, exempt, protect

Guard = Callable[..., Any]


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
