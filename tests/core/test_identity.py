from __future__ import annotations

import string
from enum import IntEnum
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from itsdangerous import TimestampSigner

from safety_middleware import SettingsError
from safety_middleware.identity import (
    SESSION_MAX_AGE,
    Keyring,
    Kind,
    client_address,
    secret_bytes,
    user_reference,
)

OLD, NEW, OTHER = "old-secret-" * 4, "new-secret-" * 4, "other-secret-" * 4
RING = Keyring([OLD])
references = st.text(st.characters(), max_size=60)  # lone surrogates too
kinds = st.sampled_from(Kind)
PRINTABLE = set(string.ascii_letters + string.digits + "_-")


@given(kinds, references)
def test_an_identifier_is_short_printable_and_tells_its_kind(kind: Kind, reference: str) -> None:
    identity = RING.identify(kind, reference)
    assert len(identity.safety_identifier) == 52
    assert set(identity.safety_identifier) <= PRINTABLE
    assert identity.safety_identifier.startswith(f"{kind.value}1_")
    assert identity.older == ()


@given(kinds, references, kinds, references)
def test_two_identities_are_the_same_only_when_kind_and_reference_are(
    kind: Kind, reference: str, other_kind: Kind, other: str
) -> None:
    one, two = RING.identify(kind, reference), RING.identify(other_kind, other)
    alike = (kind, reference) == (other_kind, other)
    assert (one.safety_identifier == two.safety_identifier) is alike
    bodies = {identity.safety_identifier[3:] for identity in (one, two)}
    assert (len(bodies) == 1) is alike, "the kind stands inside the hash too"


@given(references)
def test_another_secret_gives_another_identifier(reference: str) -> None:
    ours = RING.identify(Kind.USER, reference).safety_identifier
    theirs = Keyring([OTHER]).identify(Kind.USER, reference).safety_identifier
    assert ours[3:9] != theirs[3:9], "the key id tells which secret it was"
    assert ours[9:] != theirs[9:]


def test_a_secret_is_the_same_as_text_and_as_bytes() -> None:
    assert Keyring([OLD.encode()]).identify(Kind.USER, "ada") == RING.identify(Kind.USER, "ada")


def test_after_rotation_the_newest_secret_names_and_older_ones_are_recognised() -> None:
    before = RING.identify(Kind.USER, "ada").safety_identifier
    rotated = Keyring([NEW, OTHER, OLD]).identify(Kind.USER, "ada")
    assert rotated.safety_identifier == Keyring([NEW]).identify(Kind.USER, "ada").safety_identifier
    assert rotated.older[1] == before
    assert len({rotated.safety_identifier, *rotated.older}) == 3


def test_keys_differ_by_purpose() -> None:
    assert RING.verdict_key != RING.draw_key
    assert len(RING.verdict_key) == len(RING.draw_key) == 32


@pytest.mark.parametrize("secrets", [[], ["short"], [OLD, "short"], [b"x" * 31]])
def test_no_secret_or_a_short_one_is_an_error_that_tells_how_to_make_one(
    secrets: list[str | bytes],
) -> None:
    with pytest.raises(SettingsError, match="token_hex") as error:
        Keyring(secrets)
    assert OLD not in str(error.value)


def test_a_secret_may_hold_bytes_that_are_no_text() -> None:
    assert secret_bytes("é") == "é".encode()
    assert Keyring(["\udcff" * 32]).identify(Kind.USER, "ada").older == ()


class TestSessions:
    def test_a_returned_cookie_gives_its_session(self) -> None:
        session, cookie = RING.new_session()
        assert RING.read_session(cookie) == session
        assert cookie.isascii()
        assert RING.new_session()[0] != session

    def test_a_cookie_of_an_older_secret_still_counts(self) -> None:
        session, cookie = RING.new_session()
        assert Keyring([NEW, OLD]).read_session(cookie) == session
        assert Keyring([NEW]).read_session(cookie) is None

    def test_a_new_cookie_is_signed_with_the_newest_secret(self) -> None:
        session, cookie = Keyring([NEW, OLD]).new_session()
        assert Keyring([NEW]).read_session(cookie) == session
        assert RING.read_session(cookie) is None

    @pytest.mark.parametrize("cookie", [None, "", "x", "a.b.c", "é" * 9, "\ud800", "." * 9])
    def test_what_is_not_ours_is_no_session(self, cookie: str | None) -> None:
        assert RING.read_session(cookie) is None

    @given(st.text(max_size=80))
    def test_garbage_is_no_session(self, cookie: str) -> None:
        assert RING.read_session(cookie) is None

    @given(st.data())
    def test_a_changed_cookie_is_no_session(self, data: st.DataObject) -> None:
        session, cookie = RING.new_session()
        at = data.draw(st.integers(0, len(session) - 1))
        other = data.draw(st.sampled_from(string.ascii_letters).filter(lambda c: c != cookie[at]))
        assert RING.read_session(cookie[:at] + other + cookie[at + 1 :]) is None

    @pytest.mark.parametrize(
        ("age", "valid"), [(SESSION_MAX_AGE, True), (SESSION_MAX_AGE + 9, False), (-60, False)]
    )
    def test_a_cookie_counts_for_a_year_and_not_from_the_future(
        self, monkeypatch: pytest.MonkeyPatch, age: int, *, valid: bool
    ) -> None:
        session, cookie = RING.new_session()
        later = TimestampSigner(b"any").get_timestamp() + age

        def timestamp(signer: TimestampSigner) -> int:
            return later

        monkeypatch.setattr(TimestampSigner, "get_timestamp", timestamp)
        assert RING.read_session(cookie) == (session if valid else None)


class Status(IntEnum):
    ADA = 7


class TestUserReference:
    @pytest.mark.parametrize(
        ("value", "reference"),
        [
            (None, None),
            ("", None),
            ("ada", "ada"),
            (0, "0"),
            (42, "42"),
            (Status.ADA, "7"),
            (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        ],
    )
    def test_ids_are_hashed_as_text(self, value: object, reference: str | None) -> None:
        assert user_reference(value) == reference

    @pytest.mark.parametrize("value", [True, False, 1.5, b"ada", ["ada"], object()])
    def test_anything_else_is_an_error_that_does_not_show_it(self, value: object) -> None:
        with pytest.raises(SettingsError, match=type(value).__name__) as error:
            user_reference(value)
        assert "ada" not in str(error.value)


class TestClientAddress:
    @pytest.mark.parametrize(
        ("peer", "address"),
        [
            ("192.0.2.7", "192.0.2.7"),
            ("192.0.2.7:8080", "192.0.2.7"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
            ("[2001:db8:1:2::9]:443", "2001:db8:1:2::/64"),
            ("[2001:db8:1:2::9]", "2001:db8:1:2::/64"),
            ("fe80::1%eth0", "fe80::/64"),
            ("::1", "::/64"),
            ("::ffff:192.0.2.7", "192.0.2.7"),
            ("[::ffff:192.0.2.7]:80", "192.0.2.7"),
            ("", "unknown"),
            (None, "unknown"),
            ("testclient", "unknown"),
            ("010.0.0.1", "unknown"),
            ("1.2.3", "unknown"),
            ("[::1", "::/64"),
            ("1" * 100_000, "unknown"),
        ],
    )
    def test_the_peer_is_an_address_or_a_network(self, peer: str | None, address: str) -> None:
        assert client_address(peer, (), 0) == address

    @pytest.mark.parametrize(
        ("forwarded", "proxies", "address"),
        [
            (["203.0.113.9"], 0, "192.0.2.7"),
            (["203.0.113.9"], 1, "203.0.113.9"),
            (["6.6.6.6, 203.0.113.9"], 1, "203.0.113.9"),
            (["6.6.6.6", "203.0.113.9"], 1, "203.0.113.9"),
            (["6.6.6.6, 203.0.113.9, 198.51.100.1"], 2, "203.0.113.9"),
            (["203.0.113.9"], 2, "192.0.2.7"),
            ([], 1, "192.0.2.7"),
            (["garbage"], 1, "192.0.2.7"),
            (["6.6.6.6, unknown"], 1, "192.0.2.7"),
            (["6.6.6.6,"], 1, "192.0.2.7"),
            ([" [2001:db8::1]:443 "], 1, "2001:db8::/64"),
            (["203.0.113.9:1234"], 1, "203.0.113.9"),
        ],
    )
    def test_only_what_our_own_proxies_appended_is_believed(
        self, forwarded: list[str], proxies: int, address: str
    ) -> None:
        assert client_address("192.0.2.7", forwarded, proxies) == address

    @given(st.lists(st.text(max_size=30), max_size=4), st.ip_addresses(), st.integers(1, 3))
    def test_what_a_client_sends_changes_nothing(
        self, sent: list[str], seen: object, proxies: int
    ) -> None:
        hops = [str(seen)] + ["198.51.100.1"] * (proxies - 1)
        honest = client_address("192.0.2.7", [", ".join(hops)], proxies)
        assert client_address("192.0.2.7", [*sent, ", ".join(hops)], proxies) == honest

    @given(st.text(max_size=200), st.lists(st.text(max_size=200), max_size=3), st.integers(0, 3))
    def test_garbage_never_raises(self, peer: str, forwarded: list[str], proxies: int) -> None:
        assert len(client_address(peer, forwarded, proxies)) < 50
