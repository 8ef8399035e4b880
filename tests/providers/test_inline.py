"""Films inside JSON, read piece by piece, are what `json` and `base64` make of the whole."""

from __future__ import annotations

import base64
import json
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from providers import BadResult, SealedResult
from providers.inline import LONG, MOST_REST_BYTES, read
from providers.media import MOST_RESULTS, Blob
from tests.fakes.films import FILM
from tests.fakes.server import PICTURE
from tests.providers.network import Shelf

NOISE = random.Random(20261125).randbytes(9000)
LARGE_PICTURE = PICTURE + NOISE[:2000]


def film(size: int) -> bytes:
    return FILM + NOISE[:size]


def pieces(body: bytes, sizes: list[int]) -> list[bytes]:
    """Cut a body into pieces of these sizes, over and over."""
    cut, at = [], 0
    while at < len(body):
        size = sizes[len(cut) % len(sizes)]
        cut.append(body[at : at + size])
        at += size
    return cut


def told(value: Any, kept: list[bytes]) -> Any:
    """What a document must hold, by means of the whole: films are numbered, what else is base64 is dropped."""
    if isinstance(value, dict):
        return {key: told(each, kept) for key, each in value.items()}
    if isinstance(value, list):
        return [told(each, kept) for each in value]
    if not isinstance(value, str) or len(value) < LONG:
        return value
    text = value.partition("base64,")[2] if value.startswith("data:") else value
    try:
        content = base64.b64decode(text.translate(str.maketrans("-_", "+/")) + "===")
    except ValueError:
        return value
    if not content.startswith(FILM):
        return None if content.startswith((PICTURE, NOISE[:20])) else value
    kept.append(content)
    return f"object-{len(kept) - 1}"


def seen(value: Any) -> Any:
    match value:
        case dict():
            return {key: seen(each) for key, each in value.items()}
        case list():
            return [seen(each) for each in value]
        case SealedResult():
            assert value.media_type == "video/mp4"
            return value.ref
        case Blob():
            assert value.open().read() == b""
            return None
        case _:
            return value


def written(document: Any, escapes: str) -> bytes:
    """Write JSON as some servers do, which escape more than they must."""
    text = json.dumps(document)
    for character in escapes:
        # Nothing outside the strings of these documents holds one of them.
        text = text.replace(character, "\\/" if character == "/" else f"\\u{ord(character):04x}")
    return text.encode()


def encoded(content: bytes, form: str) -> str:
    if form == "url":
        return base64.urlsafe_b64encode(content).decode()
    if form == "bare":
        return base64.urlsafe_b64encode(content).decode().rstrip("=")
    prefix = "data:video/mp4;base64," if form == "uri" else ""
    return prefix + base64.b64encode(content).decode()


FORMS = ["plain", "uri", "url", "bare"]
films = st.builds(encoded, st.builds(film, st.integers(900, 9000)), st.sampled_from(FORMS))
others = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.text(max_size=20),
    st.builds(lambda words: f"{words} " * 400, st.text(alphabet='ab"\\/é\n', min_size=3, max_size=6)),
    st.just(encoded(film(40), "plain")),
    st.just(encoded(LARGE_PICTURE, "plain")),
    st.just(encoded(NOISE, "plain")),
)
documents = st.recursive(
    st.one_of(films, others),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.text(alphabet='kéy"', max_size=6), inner, max_size=4)
    ),
    max_leaves=6,
)


@settings(max_examples=40, deadline=None)
@given(documents, st.lists(st.integers(1, 3000), min_size=1, max_size=4), st.sampled_from(["", "/", "+=", "/+=é"]))
def test_a_body_in_pieces_is_what_the_whole_is(document: Any, sizes: list[int], escapes: str) -> None:
    shelf, kept = Shelf(), list[bytes]()
    expected = told(document, kept)

    answer = read(iter(pieces(written(document, escapes), sizes)), shelf, "video/")

    assert seen(answer.value) == expected
    assert [content for _, content in shelf.kept.values()] == kept


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 700), min_size=1, max_size=3), st.sampled_from(FORMS), st.data())
def test_a_body_that_ends_early_gives_nothing(sizes: list[int], form: str, data: st.DataObject) -> None:
    body = json.dumps({"done": True, "film": encoded(film(1500), form), "name": "x"}).encode()
    cut = pieces(body[: data.draw(st.integers(0, len(body) - 1))], sizes)

    try:
        answer = read(iter(cut), Shelf(), "video/")
    except BadResult:
        return
    assert answer.value is None


BASE64 = encoded(film(1501), "plain")


@pytest.mark.parametrize(
    "text",
    [
        BASE64[:-1],
        BASE64[:900] + "==" + BASE64[900:],
        BASE64[:1400] + "==" + BASE64[1400:],
        encoded(film(1500), "plain") + "AAAA",
        BASE64 + "\\u00",
        BASE64 + "\\n",
        BASE64 + "\\",
        BASE64 + "@@@@",
    ],
    ids=["short", "padded early", "padded late", "goes on", "half an escape", "a line", "a backslash", "no base64"],
)
@pytest.mark.parametrize("size", [1100, 64, 1 << 16])
def test_what_is_not_base64_to_its_end_is_no_result(text: str, size: int) -> None:
    body = b'{"film":"' + text.encode() + b'"}'

    try:
        answer = read(iter(pieces(body, [size])), Shelf(), "video/")
    except BadResult:
        return
    # What can be seen to be no base64 at once is text, which no adapter takes for a film.
    assert isinstance(answer.at("film"), str | None)


def test_what_a_sink_leaves_is_looked_at_all_the_same() -> None:
    def hasty(stream: Any, media_type: str) -> str:
        return str(stream.read(4))

    body = json.dumps([encoded(film(9000), "plain"), encoded(film(9000), "plain")[:-1] + "@"]).encode()

    with pytest.raises(BadResult, match="base64 is broken"):
        read(iter(pieces(body, [512])), hasty, "video/")


def test_no_more_is_sealed_than_anybody_asks_for() -> None:
    shelf = Shelf()
    others = [encoded(LARGE_PICTURE, "plain")] * 2 * MOST_RESULTS

    answer = read(iter([json.dumps([*others, *[BASE64] * MOST_RESULTS]).encode()]), shelf, "video/")

    assert isinstance(answer.at(len(others) + MOST_RESULTS - 1), SealedResult), "what is dropped does not count"
    shelf.kept.clear()
    with pytest.raises(BadResult, match=f"more than {MOST_RESULTS} results"):
        read(iter([json.dumps([BASE64] * 50).encode()]), shelf, "video/")
    assert len(shelf.kept) == MOST_RESULTS


@pytest.mark.parametrize("filler", [b'"' + b"a b " * (MOST_REST_BYTES // 4) + b'"', b"[" + b"1," * MOST_REST_BYTES])
def test_what_is_held_is_bounded(filler: bytes) -> None:
    with pytest.raises(BadResult, match="without its results"):
        read(iter(pieces(filler, [1 << 16])), Shelf(), "video/")
