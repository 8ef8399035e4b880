"""What a marketplace would say: measured in the sandbox on the encoded file, one picture for each rule it breaks."""

from __future__ import annotations

from typing import Any

import pytest
from PIL import Image

from pipelines import Encoded, Limits, Measurements, Pixels, Rule, Rules, Sandbox, Severity, judge, load_recipes
from pipelines.recipes import Recipe
from tests import photos

RECIPES = load_recipes()
MARKETPLACES = {name: recipe for name, recipe in RECIPES.items() if recipe.accepts is not None}


def packshot(
    width: int = 2000,
    height: int = 2000,
    *,
    product: tuple[int, int] = (1760, 1200),
    background: tuple[int, int, int] = (255, 255, 255),
    mode: str = "RGB",
) -> Image.Image:
    """Return a product on a plain background, in the middle and on the 16 px grid."""
    page = Image.new("RGB", (width, height), background)
    left, top = (width - product[0]) // 32 * 16, (height - product[1]) // 32 * 16
    page.paste(photos.picture(*product, seed=4).point(lambda level: level * 3 // 4), (left, top))
    return page.convert(mode)


def measured(sandbox: Sandbox, image: Image.Image | bytes, media_format: str = "JPEG", **options: Any) -> Measurements:
    data = image if isinstance(image, bytes) else photos.encode(image, media_format, **options)
    with Encoded.from_bytes(data) as source:
        return sandbox.measure(source, Limits())


def refusals(sandbox: Sandbox, name: str, image: Image.Image | bytes, *args: Any, **options: Any) -> set[Rule]:
    judgement = judge(measured(sandbox, image, *args, **options), RECIPES[name])
    return {problem.rule for problem in judgement.problems if problem.severity is Severity.REFUSED}


def test_a_clean_packshot_is_accepted_by_amazon_without_any_advice(sandbox: Sandbox) -> None:
    found = measured(sandbox, packshot(), quality=90, subsampling=0)

    assert (found.white_border, found.white_outside) == (1.0, 1.0)
    assert abs(found.fill - 0.88) < 0.01
    assert judge(found, RECIPES["amazon-main"]).problems == ()


@pytest.mark.parametrize(
    ("name", "image", "media_format", "options", "rule"),
    [
        ("amazon-main", packshot(), "WEBP", {}, Rule.FORMAT),
        ("aliexpress", photos.picture(2000, 2000, detail=900), "PNG", {}, Rule.BYTES),
        ("amazon-main", packshot(480, 480, product=(432, 432)), "JPEG", {}, Rule.TOO_SMALL),
        ("zalando", packshot(760, 1094, product=(672, 672)), "JPEG", {}, Rule.TOO_SMALL),
        ("tiktok-shop", packshot(6100, 6100), "JPEG", {"quality": 60}, Rule.TOO_LARGE),
        ("shopify", Image.new("L", (5001, 400), 255), "JPEG", {}, Rule.TOO_LARGE),
        ("ebay", Image.new("L", (6100, 6000), 255), "PNG", {}, Rule.TOO_LARGE),
        ("google-merchant", Image.new("1", (8100, 8000), 1), "PNG", {}, Rule.TOO_LARGE),
        ("wildberries", packshot(), "JPEG", {}, Rule.ASPECT),
        ("amazon-main", packshot(background=(251, 251, 251)), "JPEG", {}, Rule.BACKGROUND),
        ("amazon-main", packshot(product=(1600, 1600)), "JPEG", {}, Rule.FILL),
        ("wildberries", packshot(1500, 2000, product=(1200, 1200), mode="CMYK"), "JPEG", {}, Rule.COLOUR),
    ],
)  # fmt: skip
def test_a_picture_that_breaks_one_rule_is_refused_for_that_rule_alone(
    name: str, image: Image.Image, media_format: str, options: dict[str, Any], rule: Rule, sandbox: Sandbox
) -> None:
    assert refusals(sandbox, name, image, media_format, **options) == {rule}


def test_grey_that_leaks_to_the_edge_is_not_taken_for_the_product(sandbox: Sandbox) -> None:
    page = packshot()
    page.paste((190, 190, 190), (0, 1900, 2000, 2000))

    assert Rule.BACKGROUND in refusals(sandbox, "amazon-main", page)


def test_ringing_around_the_product_does_not_make_a_background_less_than_white(sandbox: Sandbox) -> None:
    page = Image.new("RGB", (2000, 2000), (255, 255, 255))
    page.paste((10, 10, 10), (121, 131, 1881, 1700))

    found = measured(sandbox, page, quality=60)

    assert found.white_outside == 1.0
    assert Rule.BACKGROUND not in refusals(sandbox, "amazon-main", page, quality=60)


def test_transparency_counts_as_white_and_an_orientation_turns_the_size(sandbox: Sandbox) -> None:
    cut_out = Image.new("RGBA", (1000, 800), (0, 0, 0, 0))
    cut_out.paste((90, 40, 20, 255), (100, 100, 900, 700))
    turned = measured(sandbox, photos.oriented_jpeg(6, 200))

    assert measured(sandbox, cut_out, "PNG").white_border == 1.0
    assert (turned.width, turned.height) == (300, 200)


def test_a_blank_page_is_all_white_and_filled_by_nothing(sandbox: Sandbox) -> None:
    found = measured(sandbox, Image.new("RGB", (600, 600), (255, 255, 255)))

    assert (found.white_border, found.white_outside, found.fill) == (1.0, 1.0, 0.0)


def test_a_tiny_picture_is_measured_too(sandbox: Sandbox) -> None:
    assert measured(sandbox, Image.new("RGB", (1, 1), (0, 0, 0)), "PNG").white_border == 0.0


@pytest.mark.parametrize("name", MARKETPLACES)
def test_what_a_recipe_makes_is_accepted_by_its_own_marketplace(name: str, sandbox: Sandbox) -> None:
    cut_out = Image.new("RGBA", (2400, 2700), (0, 0, 0, 0))
    cut_out.paste(photos.picture(2200, 2600, seed=2).point(lambda level: level * 3 // 4), (100, 50))
    with (
        Pixels.from_bytes(cut_out.tobytes(), 2400, 2700, 4) as source,
        sandbox.render(source, RECIPES[name], Limits()) as renditions,
    ):
        found = measured(sandbox, bytes(renditions[0].data))
        size = (renditions[0].width, renditions[0].height)

    judgement = judge(found, RECIPES[name])
    assert [str(problem) for problem in judgement.problems] == []
    assert (found.white_border, found.white_outside) == (1.0, 1.0)
    assert size == RECIPES[name].renditions[0].size  # type: ignore[union-attr]  # every marketplace's is a canvas


@pytest.mark.parametrize("recipe", MARKETPLACES.values(), ids=MARKETPLACES)
def test_a_marketplaces_numbers_say_where_they_are_from(recipe: Recipe) -> None:
    assert recipe.source is not None
    assert recipe.verified_on is None or recipe.source.startswith("https://")
    assert not recipe.unverified or recipe.verified_on is not None


def test_numbers_nobody_read_at_the_source_carry_no_date() -> None:
    dated = {name for name, recipe in MARKETPLACES.items() if recipe.verified_on is not None}

    assert dated == {"amazon-main", "ebay", "zalando", "google-merchant"}


def test_a_rule_that_refuses_is_not_advised_on_again() -> None:
    found = Measurements(
        format=RECIPES["amazon-main"].accepts.formats[0],  # type: ignore[union-attr,index]  # it has them
        bytes=1, width=300, height=200, frames=1, cmyk=False, has_alpha=False,
        white_border=1.0, white_outside=None, fill=0.9,
    )  # fmt: skip
    judgement = judge(found, RECIPES["amazon-main"])

    assert [(problem.rule, problem.severity) for problem in judgement.problems] == [
        (Rule.TOO_SMALL, Severity.REFUSED),
        (Rule.ASPECT, Severity.ADVICE),
    ]
    assert not judgement.accepted


def test_a_recipe_of_no_marketplace_judges_nothing() -> None:
    found = Measurements(
        format=Rules(formats=("jpeg",)).formats[0],  # type: ignore[arg-type,index]  # pydantic makes the enum of it
        bytes=1, width=1, height=1, frames=1, cmyk=False, has_alpha=False,
        white_border=1.0, white_outside=None, fill=0.0,
    )  # fmt: skip
    with pytest.raises(ValueError, match="'null' says nothing"):
        judge(found, RECIPES["null"])
