"""The token as a type: it is checked before anything else, and it shows itself to nobody."""

import copy
import hashlib
import hmac
import io
import json
import logging
import pickle
import string
import traceback

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hivekeys.errors import ExitCode, UserError
from hivekeys.token import MAX_LENGTH, MIN_LENGTH, Fingerprint, Token, generate, parse, weak

GOOD = "3fA9c7E1b5D8026f4a9C3e7B1d5F8062Ac4E9b7D1f3A5c8E0b2D4f6A8c0E1b3D"
SYMBOLS = st.text(alphabet=string.ascii_letters + string.digits + "+/=-_.~", min_size=MIN_LENGTH, max_size=200)


def refusal(data: bytes) -> UserError:
    with pytest.raises(UserError) as caught:
        parse(data, "token.txt")
    return caught.value


# -- made


def test_a_new_token_is_256_bits_as_64_hex_digits() -> None:
    text = generate().reveal()
    assert len(text) == 64
    assert set(text) <= set("0123456789abcdef")
    assert len({generate().reveal() for _ in range(100)}) == 100


def test_a_new_token_passes_its_own_check() -> None:
    for _ in range(200):
        text = generate().reveal()
        assert parse(text.encode(), "generated").reveal() == text


# -- read


@pytest.mark.parametrize("end", ["", "\n", "\r\n"], ids=["none", "newline", "crlf"])
def test_one_line_is_a_token_with_or_without_its_end(end: str) -> None:
    assert parse((GOOD + end).encode(), "token.txt").reveal() == GOOD


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "is empty"),
        (b"\n", "is empty"),
        (GOOD[:63].encode(), "is 63 characters long"),
        (b"x" * (MAX_LENGTH + 3), f"is {MAX_LENGTH + 3} bytes long"),
        ((GOOD + "\n" + GOOD).encode(), "has more than one line"),
        ((GOOD + "\n\n").encode(), "has more than one line"),
        ((GOOD + "\r" + GOOD).encode(), "has more than one line"),
        ((GOOD[:40] + " " + GOOD[40:]).encode(), "has blanks"),
        ((" " + GOOD).encode(), "has blanks"),
        ((GOOD + "\t").encode(), "has blanks"),
        ((GOOD + "\0").encode(), "has blanks or control characters"),
        ((GOOD + "é").encode(), "outside printable ASCII"),
        (b"\xff\xfe" + GOOD.encode("utf-16-le"), "outside printable ASCII"),
        (b"\xef\xbb\xbf" + GOOD.encode(), "outside printable ASCII"),
        (b"a" * 64, "different characters"),
        (b"0123456789abcdef" * 4, "it repeats itself"),
        (b"correct-horse-battery-staple-" * 3, "it repeats itself"),
        (
            string.ascii_letters.encode() + string.digits.encode() + b"!#",
            "most characters follow their neighbours",
        ),
    ],
)
def test_what_is_no_good_token_is_refused_by_name(data: bytes, words: str) -> None:
    error = refusal(data)
    assert words in error.message
    assert error.message.startswith("token.txt: ")
    assert "openssl rand -hex 32" in error.hint
    assert error.code is ExitCode.USAGE


@given(SYMBOLS)
def test_a_refusal_never_shows_what_was_refused(text: str) -> None:
    data = (text[:40] + " " + text[40:]).encode()
    error = refusal(data)
    assert text[:12] not in error.message + error.hint


@given(st.binary(max_size=200))
def test_any_bytes_are_a_token_or_a_refusal(data: bytes) -> None:
    try:
        text = parse(data, "stdin").reveal()
    except UserError:
        return
    assert text.encode() == data.removesuffix(b"\n").removesuffix(b"\r")
    assert MIN_LENGTH <= len(text) <= MAX_LENGTH
    assert not weak(text)


def test_both_limits_are_inside() -> None:
    longest = "".join(generate().reveal() for _ in range(MAX_LENGTH // 64))
    assert parse(GOOD.encode(), "x").reveal() == GOOD
    assert parse(longest.encode() + b"\r\n", "x").reveal() == longest


# -- never shown


def test_nothing_that_prints_shows_the_text() -> None:
    token = Token(GOOD)
    log = io.StringIO()
    handler = logging.StreamHandler(log)
    logger = logging.getLogger("test_token")
    logger.addHandler(handler)
    logger.propagate = False
    logger.warning("%s %r", token, token)
    logger.removeHandler(handler)
    shown = [str(token), repr(token), f"{token} {token!r} {token:}", str([token]), str({"t": token}), log.getvalue()]
    assert not any(GOOD[:8] in text for text in shown)


def test_a_traceback_with_a_token_in_it_does_not_show_it() -> None:
    token = Token(GOOD)
    try:
        raise ValueError(token)
    except ValueError as error:
        shown = "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())
    assert "token = Token(…)" in shown
    assert GOOD[:8] not in shown


@pytest.mark.parametrize("serialise", [pickle.dumps, copy.copy, copy.deepcopy, json.dumps])
def test_a_token_refuses_to_be_serialised(serialise: object) -> None:
    assert callable(serialise)
    with pytest.raises(TypeError):
        serialise(Token(GOOD))


def test_a_token_has_no_attributes_to_dump() -> None:
    with pytest.raises(TypeError):
        vars(Token(GOOD))


# -- compared


def test_tokens_are_equal_by_their_text_and_to_nothing_else() -> None:
    assert Token(GOOD) == Token(GOOD)
    assert Token(GOOD) != generate()
    assert Token(GOOD) != GOOD
    assert len({Token(GOOD), Token(GOOD)}) == 1


def test_the_keyed_fingerprint_is_hmac_sha256_and_fp6_is_what_the_services_log() -> None:
    shown = Token(GOOD).fingerprint(b"key")
    assert shown.keyed == hmac.new(b"key", GOOD.encode(), hashlib.sha256).hexdigest()
    assert shown.fp6 == hashlib.sha256(GOOD.encode()).hexdigest()[:6]
    assert str(shown) == shown.fp6


def test_another_fleets_key_gives_another_fingerprint() -> None:
    assert Token(GOOD).fingerprint(b"one").keyed != Token(GOOD).fingerprint(b"two").keyed


def test_fp6_decides_nothing() -> None:
    assert Fingerprint("a" * 64, "111111") == Fingerprint("a" * 64, "222222")
    assert Fingerprint("a" * 64, "111111") != Fingerprint("b" * 64, "111111")
