from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from safety_middleware.guard import Sampling
from safety_middleware.moderation import Question
from safety_middleware.standing import DAY
from safety_middleware.verdict import Verdict

NOW = 1_800_000_000.0
FLAGGED = Verdict(frozenset({"hate"}), {"hate": 0.9})


def skips(
    text: str,
    *,
    key: bytes = b"k" * 32,
    who: str = "u1_a",
    share: float = 0.25,
    now: float = NOW,
    known: Verdict | None = None,
    images: tuple[str, ...] = (),
) -> bool:
    return Sampling(key, lambda _: known).skips(who, Question(text, images), share, now)


def test_the_share_is_kept() -> None:
    moderated = sum(not skips(f"text {n}") for n in range(4_000))
    assert 850 < moderated < 1_150


def test_all_and_none_are_what_they_say() -> None:
    assert not any(skips(f"text {n}", share=1) for n in range(100))
    assert all(skips(f"text {n}", share=0) for n in range(100))


@given(st.text(), st.floats(0, 1))
def test_sending_again_draws_the_same(text: str, share: float) -> None:
    assert skips(text, share=share) == skips(text, share=share, now=NOW + 1)


def test_case_and_spacing_are_no_new_content() -> None:
    for number in range(50):
        assert skips(f"some text {number}") == skips(f"  Some\n\tTEXT  {number} ")


def test_each_person_day_key_text_and_image_draws_anew() -> None:
    def drawn(**how: object) -> list[bool]:
        return [skips(f"text {n}", share=0.5, **how) for n in range(64)]  # type: ignore[arg-type]

    draws = [
        drawn(),
        drawn(who="u1_b"),
        drawn(now=NOW + DAY),
        drawn(key=b"l" * 32),
        drawn(images=("data:a",)),
        drawn(images=("data:b",)),
    ]
    assert all(a != b for i, a in enumerate(draws) for b in draws[:i])


def test_texts_and_images_are_not_taken_for_one_another() -> None:
    draws = [
        [skips(text, share=0.5, who=f"u1_{n}", images=images) for n in range(64)]
        for text, images in (("a", ("b",)), ("", ("a", "b")), ("a\0" + "1:b", ()))
    ]
    assert draws[0] != draws[1] != draws[2] != draws[0]


def test_a_verdict_at_hand_counts_wherever_the_draw_falls() -> None:
    assert skips("text", share=0)
    assert not skips("text", share=0, known=FLAGGED)
