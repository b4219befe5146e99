from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safety_middleware import Policy, SettingsError
from safety_middleware.marks import Mark
from safety_middleware.routes import Routes, normal, protects

DEFAULT = Policy(max_images=0)


def policies(*patterns: str) -> dict[str, Policy]:
    """Each pattern with a policy of its own, told apart by its cap."""
    return {p: Policy(max_input_chars=n + 1).over(DEFAULT) for n, p in enumerate(patterns)}


def chosen(routes: Routes, template: str) -> int | None:
    route = routes.of_template(template)
    return None if route is None else route.policy.max_input_chars


def matched(pattern: str, path: str) -> bool:
    return Routes(policies(pattern), DEFAULT).of_path(path) is not None


@pytest.mark.parametrize(
    ("template", "shape"),
    [
        ("/chat", "/chat"),
        ("/c/{id}/messages", "/c/{}/messages"),
        ("/c/{id:int}/x", "/c/{}/x"),
        ("/c/<int:id>/x", "/c/{}/x"),
    ],
)
def test_a_template_is_the_same_whatever_its_parameters_are_called(
    template: str, shape: str
) -> None:
    assert normal(template) == shape


def test_exact_beats_parameters_beat_the_longest_star() -> None:
    routes = Routes(policies("/*", "/c/*", "/c/{id}", "/c/me"), DEFAULT)
    assert chosen(routes, "/c/me") == 4
    assert chosen(routes, "/c/<name>") == 3
    assert chosen(routes, "/c/you") == 3
    assert chosen(routes, "/c/you/too") == 2
    assert chosen(routes, "/d") == 1


def test_marks_beat_patterns_and_exempt_beats_all() -> None:
    routes = Routes(policies("/chat"), DEFAULT)
    marked = routes.of_template("/chat", Mark(Policy(max_input_chars=99)))
    assert marked is not None
    assert (marked.policy.max_input_chars, marked.policy.max_images) == (99, 0)
    assert routes.of_template("/chat", Mark(None)) is None
    assert routes.of_template("/else", Mark(Policy())) is not None
    routes.missing(["/chat"])  # a mark counts as found


@pytest.mark.parametrize(
    ("pattern", "template", "protected"),
    [
        ("/chat/*", "/chat", False),
        ("/chat/*", "/chat/{id}", True),
        ("/chat/*", "/chat/", True),
        ("/chat*", "/chat", True),
        ("/chat*", "/chatter/box", True),
        ("/*", "/", True),
        ("/*", "/anything/at/all", True),
        ("/c/{id}/*", "/c/{other}/x", True),
        ("/c/{id}/*", "/c/{other}", False),
        ("/c/{id}", "/c/{a}/{b}", False),
        ("/{tenant}/chat", "/acme/chat", True),
        ("/chat", "/Chat", False),
        ("/chat", "/chat/", False),
    ],
)
def test_a_pattern_names_templates(pattern: str, template: str, *, protected: bool) -> None:
    assert (chosen(Routes(policies(pattern), DEFAULT), template) is not None) is protected


def test_without_a_choice_the_chat_routes_are_protected() -> None:
    routes = Routes(None, DEFAULT)
    found = [
        p for p in ("/chat", "/chat/{id}", "/api/chat", "/api/chat/x", "/") if routes.of_template(p)
    ]
    assert found == ["/chat", "/chat/{id}", "/api/chat", "/api/chat/x"]
    assert routes.defaulted
    routes.missing(["/health"])


def test_no_patterns_mean_the_marked_routes_only() -> None:
    routes = Routes({}, DEFAULT)
    assert routes.of_template("/chat") is None
    assert routes.of_path("/chat") is None
    assert not routes.below("/chat")
    assert routes.of_template("/x", Mark(Policy())) is not None


@pytest.mark.parametrize(
    ("pattern", "path", "protected"),
    [
        ("/chat", "/chat", True),
        ("/chat", "//chat", True),
        ("/chat", "chat", True),
        ("/chat", "/chat/", True),
        ("/chat", "/chat//", True),
        ("/chat/", "/chat", True),
        ("/chat", "/chatter", False),
        ("/chat", "/chat/x", False),
        ("/chat", "/x/chat", False),
        ("/a.b", "/aXb", False),
        ("/chat/*", "/chat/", True),
        ("/chat/*", "/chat", False),
        ("/chat/*", "//chat//x", True),
        ("/chat/*", "/chat/a\nb", True),
        ("/", "/", True),
        ("/", "", True),
        ("/", "/x", False),
        ("/*", "/", True),
        ("/c/{id}", "/c/42", True),
        ("/c/{id}", "/c/42/", True),
        ("/c/{id}", "/c/", False),
        ("/c/{id}", "/c/4/2", False),
        ("/c/{id}.json", "/c/42.json", True),
        ("/c/{rest:path}", "/c/4/2", True),
        ("/c/<path:rest>", "/c/4/2", True),
        ("/c/{rest:path}/end", "/c/4/2/end", True),
        ("/c/<int:id>", "/c/42", True),
        ("/{tenant}/*", "/acme/x/y", True),
    ],
)
def test_a_path_is_met_in_every_reading_a_router_could_make_of_it(
    pattern: str, path: str, *, protected: bool
) -> None:
    assert matched(pattern, path) is protected


@given(st.text(st.sampled_from("/chat{}*.<>\n"), max_size=20))
def test_any_path_can_be_asked_for(path: str) -> None:
    routes = Routes(policies("/chat", "/c/{id}", "/h/*"), DEFAULT)
    route = routes.of_path(path)
    assert route is None or route.name in {"/chat", "/c/{id}", "/h/*"}


def test_paths_have_the_same_precedence_and_one_route_for_each_pattern() -> None:
    routes = Routes(policies("/*", "/c/*", "/c/{id}", "/c/me"), DEFAULT)
    asked = ["/x", "/c/a/b", "/c/42", "/c/me"]
    found = [route for path in asked if (route := routes.of_path(path)) is not None]
    assert [route.policy.max_input_chars for route in found] == [1, 2, 3, 4]
    assert routes.of_path("/c/43") is found[2], "what a route was seen to do is kept"
    assert routes.policies() == [route.policy for route in found]


@pytest.mark.parametrize(
    ("pattern", "prefix", "possible"),
    [
        ("/api/chat", "/api", True),
        ("/api/chat", "/api/", True),
        ("/api/chat", "", True),
        ("/api/chat", "/other", False),
        ("/api/chat", "/api/chat", True),
        ("/api/chat", "/api/chat/deep", False),
        ("/api/chat", "/apis", False),
        ("/api/*", "/api", True),
        ("/api/*", "/api/deep/er", True),
        ("/api/*", "/other", False),
        ("/ap*", "/api/deep", True),
        ("/ap*", "/b", False),
        ("/*", "/anything", True),
        ("/{tenant}/chat", "/acme", True),
        ("/{tenant}/chat", "/{name}", True),
        ("/{tenant}/*", "/acme/x", True),
        ("/c/{rest:path}", "/c/a/b", True),
        ("/acme/chat", "/{tenant}", True),
        ("/x/{id}*", "/x/y", True),
    ],
)
def test_an_app_we_cannot_look_into_is_watched_where_a_pattern_could_match(
    pattern: str, prefix: str, *, possible: bool
) -> None:
    assert Routes(policies(pattern), DEFAULT).below(prefix) is possible


def test_a_route_asked_for_and_not_found_lists_the_nearest() -> None:
    routes = Routes(policies("/chat", "/c/{id}", "/nothing/*"), DEFAULT)
    templates = ["/chats", "/c/{name}", "/health"]
    for template in templates:
        routes.of_template(template)
    with pytest.raises(SettingsError, match=r"'/chat' matches no route .* nearest are: /chats"):
        routes.missing(templates)
    routes.of_template("/chat")
    routes.missing(templates)  # one with a star may match nothing


def test_with_no_routes_at_all_the_error_says_so() -> None:
    with pytest.raises(SettingsError, match="the app has no routes"):
        Routes(policies("/chat"), DEFAULT).missing([])


def test_far_names_are_listed_where_none_is_near() -> None:
    with pytest.raises(SettingsError, match="nearest are: /zzz"):
        Routes(policies("/chat"), DEFAULT).missing(["/zzz"])


@pytest.mark.parametrize(
    ("method", "body", "methods", "protected"),
    [
        ("POST", True, None, True),
        ("post", False, None, True),
        ("GET", False, None, False),
        ("GET", True, None, True),
        ("BREW", False, None, True),
        ("GET", True, ("POST",), False),
        ("GET", False, ("GET",), True),
        ("HEAD", False, ("GET",), True),
        ("BREW", False, ("POST",), False),
        ("GET", False, ("*",), True),
    ],
)
def test_a_request_with_a_body_is_protected_unless_methods_were_named(
    method: str, methods: tuple[str, ...] | None, *, body: bool, protected: bool
) -> None:
    policy = Policy() if methods is None else Policy(methods=methods)
    assert protects(policy, method, body=body) is protected


@pytest.mark.parametrize(
    ("pattern", "template", "crosses"),
    [
        ("/chat", "/{page}", True),
        ("/chat", "/{page}/x", False),
        ("/api/chat", "/api/{page}", True),
        ("/api/chat", "/other/{page}", False),
        ("/chat", "/{rest:path}", True),
        ("/chat", "/x/{rest:path}", False),
        ("/chat", "/health", False),
        ("/chat/*", "/{page}", False),
        ("/chat/*", "/{a}/{b}", True),
    ],
)
def test_a_template_crosses_a_pattern_where_one_of_its_paths_is_named(
    pattern: str, template: str, *, crosses: bool
) -> None:
    routes = Routes(policies(pattern), DEFAULT)
    assert routes.crosses(template) is crosses
    if crosses:
        routes.missing([template])
