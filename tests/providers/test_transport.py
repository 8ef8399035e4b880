"""The transport's promises: who sees a credential, what is fetched from where, what an error says about the money."""

from __future__ import annotations

import base64
import gc
import json
import logging
import tracemalloc
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import SecretStr

from providers import BadResult, OutcomeUnknown, ResultExpired, Transient, Transport
from providers.accounts import Account, AllowedHosts
from providers.addresses import is_public
from providers.hints import LONGEST, retry_after
from providers.media import Blob, Document, as_blob, media_type_of
from providers.transport import ASK, ERROR_BYTES, FETCH, SUBMIT, Call
from tests.fakes.server import B64, PICTURE, Answer, FakeServer, Seen
from tests.providers.network import Shelf

SECRET = "secret-canary-55e0"


class Echo(FakeServer):
    """Answers as scripted; counts nothing."""

    def route(self, seen: Seen) -> Answer:
        scenario = self.scenario()
        return scenario if isinstance(scenario, Answer) else Answer(200, {"ok": True})


@pytest.fixture
def fake() -> Iterator[Echo]:
    with Echo() as fake:
        yield fake


@pytest.fixture
def transport() -> Iterator[Transport]:
    with Transport(trusted={"127.0.0.1"}, pace=0.01) as transport:
        yield transport


def here(fake: FakeServer) -> AllowedHosts:
    return AllowedHosts((), (fake.url,))


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("8.8.8.8", True), ("2001:4860:4860::8888", True), ("64:ff9b::808:808", True), ("::ffff:8.8.8.8", True),
        ("127.0.0.1", False), ("10.1.2.3", False), ("172.16.0.1", False), ("192.168.1.1", False), ("0.0.0.0", False),
        ("169.254.169.254", False), ("100.64.0.1", False), ("224.0.1.1", False), ("255.255.255.255", False),
        ("240.0.0.1", False), ("198.18.0.1", False), ("::1", False), ("::", False), ("fe80::1%eth0", False),
        ("fc00::1", False), ("fec0::1", False), ("ff0e::1", False), ("::ffff:10.0.0.1", False),
        ("::ffff:169.254.169.254", False), ("64:ff9b::a00:1", False), ("64:ff9b:1::1", False),
        ("2002:7f00:1::", False), ("2002:a00:1::1", False), ("2001:0:a00:1::", False), ("::127.0.0.1", False),
        ("2001:db8::1", False), ("5f00::1", False),
    ],
)  # fmt: skip
def test_only_public_addresses_are_called_on_a_providers_word(address: str, public: bool) -> None:
    assert is_public(address) is public


@pytest.mark.parametrize(
    ("url", "allowed"),
    [
        ("https://api.example/x", True), ("https://eu.api.example/x", True), ("https://API.example:443/x", True),
        ("http://api.example/x", False), ("https://api.example:8443/x", False), ("https://evil-api.example/", False),
        ("https://api.example.evil/", False), ("https://api.example@evil/", False), ("https://u:p@api.example/", False),
        ("https://evil/?api.example", False), ("https://evil/#@api.example", False), ("//api.example/", False),
        ("https:///x", False), ("file:///etc/passwd", False), ("https://api.example:port/", False), ("", False),
        ("http://127.0.0.1:8188/x", True), ("http://127.0.0.1:8189/x", False), ("https://127.0.0.1:8188/x", False),
    ],
)  # fmt: skip
def test_an_address_is_allowed_by_scheme_host_and_port(url: str, allowed: bool) -> None:
    assert AllowedHosts(("api.example",), ("http://127.0.0.1:8188",)).allow(url) is allowed


def test_a_credential_goes_to_allowed_hosts_only(fake: Echo, transport: Transport) -> None:
    call = Call("GET", f"{fake.url}/x", headers={"authorization": SECRET})

    with (
        pytest.raises(BadResult, match="must not be sent") as caught,
        transport.call(call, AllowedHosts(("a.example",))),
    ):
        pass

    assert fake.seen == []
    assert fake.url not in str(caught.value)


def test_a_credential_follows_no_redirect(fake: Echo, transport: Transport) -> None:
    fake.next(Answer(307, b"", {"location": f"{fake.url}/elsewhere"}))

    with transport.call(Call("GET", f"{fake.url}/x", headers={"authorization": SECRET}), here(fake)) as reply:
        assert reply.status == 307

    assert [seen.path for seen in fake.seen] == ["/x"]


def test_a_credential_is_not_shown_where_results_lie(fake: Echo, transport: Transport) -> None:
    fake.next(Answer(200, PICTURE))

    transport.fetch(
        f"{fake.url}/r", here(fake), Shelf(), headers={"authorization": SECRET}, credential_hosts=AllowedHosts(())
    )

    assert "authorization" not in fake.seen[0].headers


class TestFetching:
    @pytest.mark.parametrize("url", ["http://127.0.0.1:1/x", "https://evil.example/x", "ftp://r.example/", "r.example"])
    def test_a_result_elsewhere_is_not_fetched(self, transport: Transport, url: str) -> None:
        with pytest.raises(BadResult, match="not allowed"):
            transport.fetch(url, AllowedHosts(("r.example",)), Shelf())

    @pytest.mark.parametrize("address", ["127.0.0.1", "169.254.169.254", "::ffff:10.0.0.1", "100.100.0.1"])
    def test_an_allowed_name_that_leads_inside_is_not_called(self, address: str) -> None:
        with (
            Transport(resolve=lambda host, port: [address]) as transport,
            pytest.raises(BadResult, match="private network"),
        ):
            transport.fetch("https://r.example/x", AllowedHosts(("r.example",)), Shelf())

    def test_the_connection_goes_to_the_address_that_was_examined(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A second look-up could say something else; there is none."""
        asked, called = [], []

        def resolve(host: str, port: int) -> list[str]:
            asked.append(host)
            return ["8.8.8.8"] if len(asked) == 1 else ["127.0.0.1"]

        def connect(address: tuple[str, int], *_: Any, **__: Any) -> Any:
            called.append(address[0])
            raise OSError

        monkeypatch.setattr("socket.create_connection", connect)
        with Transport(resolve=resolve, connect_attempts=1) as transport, pytest.raises(Transient):
            transport.fetch("https://r.example/x", AllowedHosts(("r.example",)), Shelf())

        assert (asked, called) == (["r.example"], ["8.8.8.8"])

    def test_a_redirect_is_examined_like_the_first_address(self, fake: Echo, transport: Transport) -> None:
        fake.next(Answer(302, b"", {"location": "/moved"}), Answer(200, PICTURE))
        shelf = Shelf()
        transport.fetch(f"{fake.url}/x", here(fake), shelf)
        assert shelf.kept["object-0"] == ("image/png", PICTURE)

        fake.next(Answer(302, b"", {"location": "http://169.254.169.254/latest/meta-data"}))
        with pytest.raises(BadResult, match="not allowed"):
            transport.fetch(f"{fake.url}/x", here(fake), shelf)

        fake.next(*[Answer(302, b"", {"location": "/again"})] * 9)
        with pytest.raises(BadResult, match="too many redirects"):
            transport.fetch(f"{fake.url}/x", here(fake), shelf)

    @pytest.mark.parametrize(
        ("answer", "kind"),
        [
            (Answer(403, b""), ResultExpired), (Answer(404, b""), ResultExpired), (Answer(410, b""), ResultExpired),
            (Answer(503, b""), Transient), (Answer(418, b""), BadResult),
            (Answer(200, b"<html>"), BadResult), (Answer(200, b""), BadResult),
            (Answer(200, b"hello", {"content-type": "image/png"}), BadResult),
            (Answer(200, PICTURE, {"content-encoding": "gzip"}), BadResult),
            (Answer(200, PICTURE, cut=30), Transient),
            (Answer(hang=True), Transient),
        ],
    )  # fmt: skip
    def test_what_is_no_result_is_not_kept(
        self, fake: Echo, transport: Transport, answer: Answer, kind: type[Exception]
    ) -> None:
        fake.next(answer)
        shelf = Shelf()

        with pytest.raises(kind):
            transport.fetch(f"{fake.url}/x?signature={SECRET}", here(fake), shelf)
        assert shelf.kept == {}

    def test_a_result_larger_than_the_limit_is_refused_before_it_is_read(
        self, fake: Echo, transport: Transport
    ) -> None:
        fake.next(Answer(200, PICTURE, {"content-length": str(2 << 30)}))

        with pytest.raises(BadResult, match="longer than"):
            transport.fetch(f"{fake.url}/x", here(fake), Shelf())

    @pytest.mark.parametrize(("status", "told"), [(200, True), (500, False)])
    def test_what_explains_an_error_may_not_be_as_large_as_a_result(
        self, status: int, told: bool, fake: Echo, transport: Transport
    ) -> None:
        fake.next(Answer(status, b'"' + bytes([65]) * ERROR_BYTES + b'"', {"content-type": "application/json"}))

        with transport.call(Call("GET", f"{fake.url}/x", FETCH), here(fake)) as reply:
            if told:
                reply.document()
                return
            with pytest.raises(BadResult, match="longer than"):
                reply.document()

    def test_a_large_result_passes_with_flat_memory(self, fake: Echo) -> None:
        film = b"\0\0\0\x18ftypmp42" + bytes(32 << 20)
        fake.next(Answer(200, film))
        seen = 0

        def sink(stream: Any, media_type: str) -> str:
            nonlocal seen
            buffer = bytearray(1 << 16)
            while count := stream.readinto(buffer):
                seen += count
            return media_type

        with Transport(trusted={"127.0.0.1"}) as transport:
            gc.collect()
            tracemalloc.start()
            assert transport.fetch(f"{fake.url}/x", here(fake), sink) == ("video/mp4", "video/mp4")
            _, peak = tracemalloc.get_traced_memory()
            tracemalloc.stop()

        assert seen == len(film)
        assert peak < 4 << 20


class TestMoney:
    def test_p7_a_connection_is_tried_again_because_nothing_was_sent(self) -> None:
        tries = []

        def resolve(host: str, port: int) -> list[str]:
            tries.append(host)
            raise OSError

        with (
            Transport(resolve=resolve, connect_attempts=3) as transport,
            pytest.raises(Transient, match="nothing was"),
            transport.call(Call("POST", "https://a.example/", SUBMIT), AllowedHosts(("a.example",))),
        ):
            pass
        assert len(tries) == 3

    def test_p7_a_failed_tls_handshake_sent_nothing(self, fake: Echo, transport: Transport) -> None:
        """The fake speaks no TLS, so the handshake fails with an error of the TLS library or a timeout."""
        url = fake.url.replace("http:", "https:")

        with (
            pytest.raises(Transient, match="nothing was sent") as caught,
            transport.call(Call("POST", url, SUBMIT, json={"p": SECRET}), AllowedHosts((), (url,))),
        ):
            pass
        assert caught.value.charged == "no"

    @pytest.mark.parametrize("answer", [Answer(hang=True), Answer(200, {"id": "x" * 99}, cut=20)])
    def test_p7_a_paid_call_whose_answer_is_lost_is_sent_once(
        self, fake: Echo, transport: Transport, answer: Answer
    ) -> None:
        fake.next(answer)

        with pytest.raises(OutcomeUnknown), transport.call(Call("POST", fake.url, SUBMIT), here(fake)) as reply:
            reply.document()
        assert len(fake.seen) == 1

    def test_a_call_that_may_be_repeated_fails_for_now(self, fake: Echo, transport: Transport) -> None:
        fake.next(Answer(hang=True))

        with pytest.raises(Transient, match="in time"), transport.call(Call("GET", fake.url, ASK), here(fake)):
            pass

    def test_the_whole_call_has_a_limit_beside_that_of_each_read(self, fake: Echo) -> None:
        with Transport(trusted={"127.0.0.1"}, pace=0.01) as transport, transport._deadline.within(0.05):
            fake.next(Answer(hang=True))
            began = datetime.now(UTC)
            with pytest.raises(OutcomeUnknown), transport.call(Call("POST", fake.url, SUBMIT), here(fake)):
                pass
            assert datetime.now(UTC) - began < timedelta(seconds=0.5), "the read alone may take 0.6 s"


class TestSilence:
    def test_p1_neither_addresses_nor_headers_nor_bodies_are_logged(
        self, fake: Echo, transport: Transport, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.DEBUG)
        headers = {"authorization": SECRET}

        with transport.call(Call("POST", f"{fake.url}/?{SECRET}", headers=headers, json={"p": SECRET}), here(fake)):
            pass
        fake.next(Answer(200, b"no picture"))
        with pytest.raises(BadResult) as caught:
            transport.fetch(f"{fake.url}/?signature={SECRET}", here(fake), Shelf())

        assert SECRET not in caplog.text
        assert SECRET not in repr(caught.value) + repr(Call("GET", f"/{SECRET}", headers=headers))

    def test_p1_an_account_prints_without_its_key(self) -> None:
        assert SECRET not in repr(Account(key=SecretStr(SECRET)))


@pytest.mark.parametrize(
    ("headers", "wait"),
    [
        ({"retry-after-ms": "250"}, timedelta(milliseconds=250)),
        ({"retry-after-ms": "x", "retry-after": "2.5"}, timedelta(seconds=2.5)),
        ({"retry-after": "Mon, 23 Nov 2026 00:01:00 GMT"}, timedelta(seconds=60)),
        ({"retry-after": "Sun, 22 Nov 2026 00:00:00 GMT"}, timedelta()),
        ({"retry-after": "-4"}, timedelta()),
        ({"retry-after": "1e99"}, LONGEST),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "later"}, None),
        ({"retry-after": ""}, None),
        ({}, None),
    ],
)
def test_a_hint_is_read_in_every_form(headers: dict[str, str], wait: timedelta | None) -> None:
    assert retry_after(headers, datetime(2026, 11, 23, tzinfo=UTC)) == wait


@pytest.mark.parametrize(
    ("start", "media_type"),
    [
        (PICTURE, "image/png"), (b"\xff\xd8\xff\xe0", "image/jpeg"), (b"RIFF\0\0\n\0WEBPVP8 ", "image/webp"),
        (b"GIF89a", "image/gif"), (b"\0\0\0\x20ftypavif", "image/avif"), (b"\0\0\0\x18ftypisom", "video/mp4"),
        (b"\x1a\x45\xdf\xa3", "video/webm"), (b"<svg", None), (b"PK\x03\x04", None), (b"", None), (b"%PDF", None),
    ],
)  # fmt: skip
def test_the_first_bytes_show_the_type(start: bytes, media_type: str | None) -> None:
    assert media_type_of(start) == media_type


class TestDocuments:
    @pytest.mark.parametrize(
        "escape", [lambda text: text, lambda text: text.replace("/", "\\/").replace("=", "\\u003d")]
    )
    @pytest.mark.parametrize("prefix", ["", "data:image/png;base64,"])
    def test_a_picture_in_json_is_a_window_on_the_body(self, escape: Any, prefix: str) -> None:
        long = B64[: len(B64) // 4 * 4 - 4] * 9 + B64
        body = '{"data": [{"b64": "' + escape(prefix + long) + '", "n": {"blob": 0}}], "e": "short"}'

        document = Document.parse(body.encode())

        blob = as_blob(document.at("data", 0, "b64"))
        assert blob is not None
        assert len(long) > 1024
        assert "b64" not in repr(blob)
        assert bytes(blob.text).decode() == long
        assert (document.at("data", 0, "n"), document.text("e")) == ({"blob": 0}, "short")

    def test_it_decodes_to_what_was_encoded(self) -> None:
        picture = PICTURE + bytes(range(256)) * 5000
        body = b'{"b": "' + base64.b64encode(picture) + b'"}'
        blob = as_blob(Document.parse(body).at("b"))

        assert blob is not None
        shelf = Shelf()
        assert shelf(blob.open(), "image/png")
        assert shelf.kept["object-0"][1] == picture

    @pytest.mark.parametrize("text", ["abc", "ab$=", "=" * 8, "a" * 2001, "QUJD=UJD"])
    def test_broken_base64_is_a_bad_result(self, text: str) -> None:
        blob = as_blob(text)
        assert blob is not None
        with pytest.raises(BadResult, match="base64"):
            blob.open().read()

    @pytest.mark.parametrize("body", [b"", b"<html>", b"[" * 100_000, b"\xff\xfe", b'{"a": ', b"nul"])
    def test_what_is_no_json_is_nothing(self, body: bytes) -> None:
        document = Document.parse(body)

        assert document.at("a", 0) is None
        assert document.text("a") == ""

    @pytest.mark.parametrize("number", ["-1", "-5", "1", "99", "true", "false", "0.0", '"0"', "null", "[0]"])
    def test_a_mark_that_the_provider_wrote_itself_stands_for_no_picture(self, number: str) -> None:
        mark = f'{{"\\u0000blob": {number}}}'.encode()

        document = Document.parse(b'{"theirs": ' + mark + b', "picture": "' + b"QUJD" * 300 + b'"}')

        assert isinstance(document.at("picture"), Blob)
        assert document.at("theirs") == json.loads(mark)

    def test_a_document_of_another_shape_is_nothing(self) -> None:
        document = Document.parse(b'{"a": [1, {"b": null}], "\\u0000blob": 5}')

        assert [document.at("a", 9), document.at("a", "b"), document.at("x"), document.text("a")] == [
            None,
            None,
            None,
            "",
        ]
