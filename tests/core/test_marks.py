from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from safety_middleware import EndpointUnprotected, SettingsError
from safety_middleware.marks import exempt, find_mark, protect, reached


def marked(**fields: Any) -> Callable[[Any], Any]:
    return protect("dispatch", fields)


def plain(text: str, *, times: int = 1) -> str:
    """Repeats."""
    return text * times


async def awaited(text: str, *, times: int = 1) -> str:
    """Repeats."""
    await asyncio.sleep(0)
    return text * times


def generated(text: str, *, times: int = 1) -> Iterator[str]:
    """Repeats."""
    yield text * times


async def streamed(text: str, *, times: int = 1) -> AsyncIterator[str]:
    """Repeats."""
    yield text * times


def outcome(endpoint: Any) -> str:
    async def first(pieces: AsyncIterator[str]) -> str:
        return await anext(pieces)

    if inspect.iscoroutinefunction(endpoint):
        return str(asyncio.run(endpoint("a", times=2)))
    answer: Any = endpoint("a", times=2)
    if hasattr(answer, "__anext__"):
        return asyncio.run(first(answer))
    return str(next(answer)) if inspect.isgenerator(answer) else str(answer)


endpoints = pytest.mark.parametrize("endpoint", [plain, awaited, generated, streamed])


@endpoints
def test_a_marked_endpoint_runs_where_a_middleware_guards_it(endpoint: Any) -> None:
    protected = marked(max_images=0)(endpoint)
    with reached():
        assert outcome(protected) == "aa"


@endpoints
def test_reached_without_one_it_raises_at_once(endpoint: Any) -> None:
    with pytest.raises(EndpointUnprotected, match=endpoint.__name__):
        outcome(marked()(endpoint))


@endpoints
def test_it_keeps_its_kind_its_signature_and_its_words(endpoint: Any) -> None:
    protected = marked()(endpoint)
    assert inspect.signature(protected) == inspect.signature(endpoint)
    assert (protected.__name__, protected.__doc__) == (endpoint.__name__, endpoint.__doc__)
    for kind in (
        inspect.iscoroutinefunction,
        inspect.isgeneratorfunction,
        inspect.isasyncgenfunction,
    ):
        assert kind(protected) == kind(endpoint)


@endpoints
def test_both_the_function_and_its_wrapper_bear_the_mark(endpoint: Any) -> None:
    @functools.wraps(endpoint)
    def fresh(*args: Any, **kwargs: Any) -> Any:
        return endpoint(*args, **kwargs)

    protected = marked(max_images=0)(fresh)
    for found in (find_mark(fresh), find_mark(protected)):
        assert found is not None
        assert found.policy is not None
        assert found.policy.given == {"max_images"}


def test_an_abandoned_stream_is_closed() -> None:
    closed: list[bool] = []

    async def stream() -> AsyncIterator[int]:
        try:
            yield 1
            yield 2
        finally:
            closed.append(True)

    async def main() -> None:
        pieces = marked()(stream)()
        assert await anext(pieces) == 1
        await pieces.aclose()
        assert closed

    with reached():
        asyncio.run(main())


class View:
    async def dispatch(self) -> str:
        return "done"

    def method(self) -> str:
        return "done"


class TestClasses:
    def test_the_way_in_is_checked(self) -> None:
        protected = marked()(type("Protected", (View,), {}))
        assert isinstance(protected, type)
        with pytest.raises(EndpointUnprotected):
            asyncio.run(protected().dispatch())
        with reached():
            assert asyncio.run(protected().dispatch()) == "done"
        assert asyncio.run(View().dispatch()) == "done", "its base stays as it was"

    def test_heirs_inherit_the_mark(self) -> None:
        protected = marked()(type("Protected", (View,), {}))
        heir = type("Heir", (protected,), {})
        assert find_mark(heir) is find_mark(protected) is not None

    def test_an_exempt_heir_runs_unguarded(self) -> None:
        protected = marked()(type("Protected", (View,), {}))
        heir = exempt(type("Heir", (protected,), {}))
        assert asyncio.run(heir().dispatch()) == "done"

    def test_a_protected_heir_of_an_exempt_class_is_protected(self) -> None:
        heir = marked()(type("Heir", (exempt(type("Free", (View,), {})),), {}))
        with pytest.raises(EndpointUnprotected):
            asyncio.run(heir().dispatch())


class TestFinding:
    def test_behind_partials_wrappers_methods_and_view_functions(self) -> None:
        protected = marked()(plain)
        mark = find_mark(protected)
        assert mark is not None

        @functools.wraps(protected)
        def wrapped() -> None: ...

        def view() -> None: ...

        view.view_class = marked()(type("Protected", (View,), {}))  # type: ignore[attr-defined]  # as Flask does
        assert find_mark(functools.partial(functools.partial(protected, 1), 2)) is mark
        assert find_mark(wrapped) is mark
        assert find_mark(view) is not None

        class Views:
            method = marked()(View.method)

        assert find_mark(Views().method) is not None

    @pytest.mark.parametrize("endpoint", [lambda: None, functools.partial(len), View, None, 5])
    def test_nothing_where_there_is_none(self, endpoint: object) -> None:
        assert find_mark(endpoint) is None

    def test_an_object_that_has_everything_has_no_mark(self) -> None:
        class Anything:
            def __getattr__(self, name: str) -> Anything:
                return self

        assert find_mark(Anything()) is None


class TestExempt:
    def test_the_endpoint_is_left_as_it_is(self) -> None:
        def free() -> str:
            return "done"

        assert exempt(free) is free
        mark = find_mark(free)
        assert mark is not None
        assert mark.policy is None

    def test_it_beats_protect_in_whichever_order(self) -> None:
        def one() -> str:
            return "done"

        def two() -> str:
            return "done"

        for endpoint in (exempt(marked()(one)), marked()(exempt(two))):
            mark = find_mark(endpoint)
            assert mark is not None
            assert mark.policy is None
            assert endpoint() == "done"


def test_an_unknown_field_names_the_nearest() -> None:
    with pytest.raises(SettingsError, match=r"protect\(max_image=…\).*Did you mean max_images"):
        marked(max_image=1)


def test_an_impossible_value_is_told_when_the_mark_is_made() -> None:
    with pytest.raises(SettingsError, match="max_images"):
        marked(max_images=-1)
