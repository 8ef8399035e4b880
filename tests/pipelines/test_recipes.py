from __future__ import annotations

import base64
import io
from pathlib import Path

import pytest
from PIL import Image

from pipelines import CanvasRendition, RecipeError, load_recipes
from pipelines.renditions import rendition_from_json
from tests import photos

WORKING = """
title = "Square"
[[renditions]]
name = "square"
fit = "width"
width = 300
format = "jpeg"
"""


def test_the_built_in_recipes_are_there() -> None:
    recipes = load_recipes()

    assert set(recipes) == {
        "aliexpress", "amazon-main", "avatar", "ebay", "etsy", "google-merchant", "meta-shop", "null", "original-clean",
        "ozon", "shopify", "tiktok-shop", "web-set", "web-set-avif", "wildberries", "zalando",
    }  # fmt: skip
    assert [name for name, recipe in recipes.items() if recipe.hidden] == ["null"]
    assert (recipes["amazon-main"].operation, recipes["amazon-main"].provider) == ("remove-background", "local")
    assert (recipes["web-set"].operation, recipes["web-set"].provider) == (None, "none")
    assert len(recipes["web-set"].renditions) == 6


def test_numbers_of_a_marketplace_name_their_source_and_the_day_it_was_read() -> None:
    recipe = load_recipes()["amazon-main"]

    assert recipe.source is not None
    assert recipe.source.startswith("https://sellercentral.amazon.com/")
    assert recipe.verified_on is not None


def test_amazons_rules_are_in_the_recipe() -> None:
    (main,) = load_recipes()["amazon-main"].renditions

    assert isinstance(main, CanvasRendition)
    assert (main.canvas, main.canvas_min, main.grid, main.background) == (2000, 500, 16, (255, 255, 255))
    assert main.fill >= 0.85
    assert main.max_bytes <= 10_000_000


def test_recipes_of_ones_own_are_added_and_may_replace(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(WORKING)
    (tmp_path / "web-set.toml").write_text(WORKING)

    recipes = load_recipes(tmp_path)

    assert recipes["mine"].name == "mine"
    assert recipes["web-set"].title == "Square"
    assert "amazon-main" in recipes


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("title = ", "mine.toml is not valid TOML"),
        (WORKING.replace("width = 300", "width = 30000"), "renditions.0.width: Input should be less than or equal"),
        (WORKING.replace("width = 300", "widht = 300"), "renditions.0.widht: there is no such field; allowed are"),
        (WORKING.replace('"jpeg"', '"bmp"'), "renditions.0.format: Input should be 'jpeg', 'webp', 'avif' or 'png'"),
        (WORKING.replace('fit = "width"', 'fit = "stretch"'), "renditions.0: Input tag 'stretch'"),
        (WORKING.replace("title", "titel"), "titel: there is no such field; allowed are accepts, advises"),
        (WORKING + WORKING.split("\n", 2)[2], "two renditions have the same name"),
        ('title = "Nothing"', "a recipe needs at least one rendition"),
        (WORKING.replace("title", 'operation = "remove-background"\ntitle'), "needs a provider other than 'none'"),
        (WORKING.replace("title", 'name = "other"\ntitle'), "name must be left out"),
        (WORKING + "animated = true", "animated needs format webp, no watermark and no sharpen"),
        (
            'operation = "remove-background"\nprovider = "local"\nkeep_copyright = true' + WORKING,
            "keep_copyright needs the upload itself",
        ),
    ],
)  # fmt: skip
def test_a_wrong_recipe_is_one_sentence_with_file_field_and_what_is_allowed(
    text: str, said: str, tmp_path: Path
) -> None:
    (tmp_path / "mine.toml").write_text(text)

    with pytest.raises(RecipeError) as error:
        load_recipes(tmp_path)

    assert said in str(error.value)
    assert "mine.toml" in str(error.value)
    assert len(str(error.value).splitlines()) == 1 or "not valid TOML" in said


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="nowhere does not exist"):
        load_recipes(tmp_path / "nowhere")


def test_a_watermark_is_read_from_beside_the_recipe(tmp_path: Path) -> None:
    mark = photos.encode(Image.new("RGBA", (40, 20), (0, 0, 0, 200)), "PNG")
    (tmp_path / "logo.png").write_bytes(mark)
    (tmp_path / "mine.toml").write_text(WORKING + "watermark = true\n[watermark]\nimage = 'logo.png'\nopacity = 0.5\n")

    watermark = load_recipes(tmp_path)["mine"].watermark

    assert watermark is not None
    assert base64.b64decode(watermark.png) == mark
    assert (watermark.opacity, watermark.gravity) == (0.5, "south-east")


def test_a_text_becomes_a_picture_of_its_letters_with_an_outline(tmp_path: Path) -> None:
    def drawn(extra: str) -> Image.Image:
        (tmp_path / "mine.toml").write_text(WORKING + f"[watermark]\n{extra}\n")
        watermark = load_recipes(tmp_path)["mine"].watermark
        assert watermark is not None
        return Image.open(io.BytesIO(base64.b64decode(watermark.png))).convert("RGBA")

    assert drawn(f'text = "{"Copyright of all pictures " * 2}"').width > 600
    letters, longer = drawn('text = "© Kiln & Co"'), drawn('text = "© Kiln & Company"')
    red = drawn('text = "© Kiln & Co"\ncolour = [200, 0, 0]')

    assert longer.width > letters.width > 4 * letters.height
    levels = set(letters.get_flattened_data())
    assert any(min(colour) == 255 == alpha for *colour, alpha in levels)
    assert any(alpha == 0 for *_colour, alpha in levels)
    assert any(max(colour) < 40 and 100 < alpha < 200 for *colour, alpha in levels)
    assert any(pixel == (200, 0, 0, 255) for pixel in red.get_flattened_data())


@pytest.mark.parametrize(
    ("added", "said"),
    [
        ("watermark = true", "wants a watermark, and the recipe has none"),
        ("[watermark]\nimage = '../logo.png'", "must be the name of a PNG in the recipe's own folder"),
        ("[watermark]\nimage = 'nowhere.png'", "nowhere.png cannot be read"),
        ("[watermark]\nimage = 'mine.toml'", "must be a PNG of at most 24 KiB"),
        ("[watermark]\nopacity = 0.5", "must be the name of a PNG"),
        ("[watermark]\ntext = 'a'\nimage = 'b.png'", "must be the name of a PNG"),
        ("[watermark]\ntext = ''", "one line of at most 60 characters"),
        ("[watermark]\ntext = 'Kwiaty i zioła'", "the font has no 'ł'; name one that has it as font"),
        ("[watermark]\ntext = 'a'\nfont = 'nowhere.ttf'", "nowhere.ttf cannot be read"),
        ("[watermark]\ntext = 'a'\nfont = 'mine.toml'", "watermark.font: is no font"),
        ("[watermark]\ntext = 'a'\ncolour = [1, 2]", "three numbers from 0 to 255"),
    ],
)  # fmt: skip
def test_a_wrong_watermark_is_named(added: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(WORKING + added)

    with pytest.raises(RecipeError, match=r"mine\.toml") as error:
        load_recipes(tmp_path)

    assert said in str(error.value)


def test_what_the_child_gets_is_what_the_recipe_says() -> None:
    from dataclasses import asdict

    for recipe in load_recipes().values():
        for spec in recipe.renditions:
            assert rendition_from_json(asdict(spec)) == spec
