"""Ways round the rules of a Flask app."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask, request

from safety_middleware_flask import SafetyMiddleware, exempt

from .conftest import BAD, Bench, blocked, say


def opened(bench: Bench, rule: str, methods: list[str], patterns: Any = None) -> Any:
    app = Flask("bypass")

    def view(**parts: str) -> str:
        return f"reached {parts} {request.get_data(as_text=True)}"

    app.add_url_rule(rule, view_func=view, methods=methods)

    @exempt
    def opened(rest: str) -> str:
        return rest

    app.add_url_rule("/open/<path:rest>", view_func=opened, methods=methods)
    SafetyMiddleware(app, safety=bench.safety(patterns))
    return bench.serve_flask(app)


@pytest.mark.parametrize("rule", ["/chat/<message>", "/chat/<path:rest>", "/<a>/<b>"])
def test_text_in_the_path_is_checked(bench: Bench, rule: str) -> None:
    client = opened(bench, rule, ["POST"])
    assert blocked(client.post(f"/chat/{BAD}"))
    assert client.post("/chat/how are you").status_code == 200


def test_a_get_that_carries_a_body_is_checked_and_one_without_is_not(bench: Bench) -> None:
    client = opened(bench, "/chat", ["GET", "POST"])
    assert blocked(say(client, method="GET"))
    assert client.get("/chat").status_code == 200


def test_a_method_nobody_knows_is_protected(bench: Bench) -> None:
    assert blocked(say(opened(bench, "/chat", ["CHAT"]), method="CHAT"))


@pytest.mark.parametrize("patterns", [None, ["/chat"], ["/chat*"]])
@pytest.mark.parametrize("rule", ["/<path:rest>", "/<page>"])
def test_a_catch_all_is_guarded_where_its_path_is_one_of_a_pattern(
    bench: Bench, rule: str, patterns: Any
) -> None:
    client = opened(bench, rule, ["POST"], patterns)
    assert blocked(say(client))
    assert say(client, "/other").status_code == 200
    assert say(client, "/open/chat").status_code == 200
