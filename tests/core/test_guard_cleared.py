from __future__ import annotations

import threading

from hypothesis import given
from hypothesis import strategies as st

from safety_middleware.guard import Cleared
from safety_middleware.identity import Identity, Keyring, Kind

SECRET = "0123456789abcdef" * 4

RING = Keyring([SECRET])
ADA, BOB = RING.identify(Kind.USER, "ada"), RING.identify(Kind.USER, "bob")
texts = st.text(st.characters(), max_size=20)


@given(texts, texts, st.sampled_from(["r1", "r2"]), st.sampled_from(["r1", "r2"]))
def test_only_the_same_text_of_the_same_speaker_under_the_same_rules_is_known(
    one: str, other: str, rules: str, other_rules: str
) -> None:
    cleared = Cleared(b"k" * 32)
    cleared.add([cleared.name(ADA, rules, one)])
    assert cleared.known(cleared.name(ADA, rules, one))
    assert not cleared.known(cleared.name(BOB, rules, one))
    same = (one, rules) == (other, other_rules)
    assert cleared.known(cleared.name(ADA, other_rules, other)) is same


def test_lone_surrogates_have_names() -> None:
    cleared = Cleared(b"k" * 32)
    assert cleared.name(ADA, "r", "\ud800") != cleared.name(ADA, "r", "\udfff")


def test_names_are_keyed_and_hold_nothing_of_the_text() -> None:
    names = {Cleared(key * 32).name(ADA, "r", "hello") for key in (b"a", b"b")}
    assert len(names) == 2
    assert all(len(name) == 16 for name in names)


def test_the_text_met_longest_ago_is_forgotten_first() -> None:
    cleared = Cleared(b"k" * 32, size=2)
    a, b, c = (cleared.name(ADA, "r", text) for text in "abc")
    cleared.add([a, b])
    assert cleared.known(a)  # met again
    cleared.add([c])
    assert [cleared.known(name) for name in (a, b, c)] == [True, False, True]


def test_threads_can_share_it() -> None:
    cleared = Cleared(b"k" * 32, size=50)
    failures: list[BaseException] = []

    def work(identity: Identity) -> None:
        try:
            for number in range(300):
                name = cleared.name(identity, "r", str(number))
                cleared.add([name])
                cleared.known(name)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(who,)) for who in (ADA, BOB) * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
