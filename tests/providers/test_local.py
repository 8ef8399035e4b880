from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace

import pytest
from PIL import Image

from pipelines import Encoded, Limits, Pixels, Refused, Sandbox
from providers import (
    PIXELS,
    Done,
    InMemory,
    InvalidRequest,
    NothingToDo,
    Operation,
    PreparedImage,
    Provider,
    ProviderTools,
    Request,
    Transient,
)
from providers.local import LocalProvider
from tests.photos import blank_page, encode, product_photo
from tests.providers.provider_contract import ProviderContract, memfd


def cut_out(image: PreparedImage) -> InMemory | None:
    """A knife that takes the whole picture for the product."""
    return InMemory(memfd(b"\xff" * image.width * image.height * 4), PIXELS, image.width, image.height, 4)


class TestLocal(ProviderContract):
    @pytest.fixture
    def provider(self) -> Provider:
        return LocalProvider(ProviderTools(cut_out=cut_out))

    @pytest.fixture
    def wish(self, pixels: PreparedImage) -> Request:
        return Request(operation=Operation.REMOVE_BACKGROUND, idempotency_key="k", input=pixels)

    def test_it_says_so_if_there_is_no_product(self, wish: Request) -> None:
        provider = LocalProvider(ProviderTools(cut_out=lambda image: None))

        with pytest.raises(NothingToDo, match="No product was found in the photo; it should stand out") as caught:
            provider.submit(wish)

        assert not caught.value.retryable

    def test_a_fault_of_the_sandbox_stays_what_it_is(self, wish: Request) -> None:
        def broken(image: PreparedImage) -> InMemory | None:
            raise Transient("The sandbox was restarted.")

        with pytest.raises(Transient, match="The sandbox was restarted"):
            LocalProvider(ProviderTools(cut_out=broken)).submit(wish)

    def test_without_the_sandbox_it_says_what_is_missing(self, wish: Request) -> None:
        with pytest.raises(InvalidRequest, match="without the sandbox"):
            LocalProvider(ProviderTools()).submit(wish)

    @pytest.mark.parametrize("background", ["white", "#fff", "#12345g", "a beach at dawn"])
    def test_only_a_plain_colour_can_be_the_background(
        self, provider: Provider, wish: Request, background: str
    ) -> None:
        request = replace(wish, operation=Operation.REPLACE_BACKGROUND, background=background)

        with pytest.raises(InvalidRequest, match="write it as #rrggbb") as caught:
            provider.submit(request)

        assert background not in str(caught.value)

    def test_a_plain_colour_is_taken(self, provider: Provider, wish: Request) -> None:
        answer = provider.submit(replace(wish, operation=Operation.REPLACE_BACKGROUND, background="#fFaA00"))

        assert isinstance(answer, Done)
        (result,) = answer.results
        assert isinstance(result, InMemory)
        os.close(result.fd)

    def test_it_takes_pixels_only(self, provider: Provider, wish: Request, pixels: PreparedImage) -> None:
        with pytest.raises(InvalidRequest, match="works on raw pixels"):
            provider.submit(replace(wish, input=replace(pixels, media_type="image/png")))


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox() as sandbox:
        yield sandbox


@pytest.fixture
def real(sandbox: Sandbox) -> Provider:
    """The provider with the knife a worker gives it."""

    def cut(image: PreparedImage) -> InMemory | None:
        try:
            cut = sandbox.cut_out(Pixels(image.fd, image.width, image.height, image.bands), Limits())
        except Refused:
            return None
        return InMemory(cut.fd, PIXELS, cut.width, cut.height, cut.bands)

    return LocalProvider(ProviderTools(cut_out=cut))


def request_for(sandbox: Sandbox, photo: bytes) -> Request:
    with Encoded.from_bytes(photo) as source:
        ready = sandbox.prepare(source, max_side=None, encoding="pixels", limits=Limits())
    image = PreparedImage(ready.fd, PIXELS, ready.width, ready.height, ready.bands)
    return Request(operation=Operation.REMOVE_BACKGROUND, idempotency_key="k", input=image)


def test_in_the_real_sandbox_a_product_is_cut_out(real: Provider, sandbox: Sandbox) -> None:
    request = request_for(sandbox, product_photo().encoded)

    answer = real.submit(request)

    assert isinstance(answer, Done)
    (result,) = answer.results
    assert isinstance(result, InMemory)
    assert request.input is not None
    assert (result.width, result.height, result.bands) == (request.input.width, request.input.height, 4)
    alpha = os.pread(result.fd, result.width * result.height * 4, 0)[3::4]
    assert alpha[0] == 0, "the corner is background"
    assert alpha[len(alpha) // 2 + result.width // 2] == 255, "the middle is product"
    os.close(result.fd)
    os.close(request.input.fd)


def test_in_the_real_sandbox_an_empty_page_has_no_product(real: Provider, sandbox: Sandbox) -> None:
    request = request_for(sandbox, encode(Image.fromarray(blank_page()), "JPEG"))

    with pytest.raises(NothingToDo):
        real.submit(request)

    assert request.input is not None
    os.close(request.input.fd)
