"""
Draw a page of photos and everything that is made of them, for eyes: `make gallery`, then open gallery/index.html.

The photos are seeded and so the same everywhere; each goes through the sandbox as an upload would, and, where a recipe
asks for an operation, through the provider `local`'s cut-out.
"""

from __future__ import annotations

import html
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from pipelines import Encoded, Limits, PipelineError, Pixels, Recipe, Sandbox, judge, load_recipes
from pipelines.sources import Prepared
from tests import photos

HERE = Path(__file__).parent
OUT = Path(sys.argv[1]) if len(sys.argv) > 1 else Path("gallery")
SUFFIXES = {"image/jpeg": "jpg", "image/webp": "webp", "image/avif": "avif", "image/png": "png"}
STYLE = """
body { font: 14px/1.4 system-ui, sans-serif; margin: 2rem; background: #f2f2f0; color: #222 }
section { display: flex; flex-wrap: wrap; gap: 1rem; margin-bottom: 2.5rem; align-items: flex-start }
figure { margin: 0; max-width: 240px }
img { max-width: 240px; max-height: 300px; display: block; outline: 1px solid #bbb }
.see-through { background: repeating-conic-gradient(#ddd 0 25%, #fff 0 50%) 0 0 / 16px 16px }
figcaption { font-size: 12px; margin-top: .3rem } .no { color: #a00 } pre { white-space: pre-wrap; font-size: 11px }
"""


def uploads() -> Iterator[tuple[str, bytes]]:
    for product in photos.PRODUCTS:
        yield product, photos.product_photo(product, width=1600, height=1200).encoded
    yield "landscape", photos.jpeg(1500, 1000, seed=9)
    yield "compass-turned", photos.oriented_jpeg(6, 700)
    for photo in sorted((HERE.parent / "photos").glob("*.jpg")):
        yield photo.stem, photo.read_bytes()


def figure(file: Path, caption: str, *, problem: bool = False) -> str:
    said = f'<figcaption class="{"no" if problem else ""}">{html.escape(caption)}</figcaption>'
    return f'<figure><img class="see-through" src="{file.name}" loading="lazy">{said}</figure>'


def cut_out(sandbox: Sandbox, picture: Prepared) -> Pixels:
    return sandbox.cut_out(picture.as_pixels(), Limits())


def made(sandbox: Sandbox, name: str, upload: bytes, recipe: Recipe) -> Iterator[str]:
    try:
        with Encoded.from_bytes(upload) as source:
            if recipe.operation is None:
                yield from rendered(sandbox, name, source, recipe)
                return
            with (
                sandbox.prepare(source, max_side=None, encoding="pixels", limits=Limits()) as picture,
                cut_out(sandbox, picture) as product,
            ):
                yield from rendered(sandbox, name, product, recipe)
    except PipelineError as error:
        yield f'<figure><figcaption class="no">{recipe.name}: {html.escape(str(error))}</figcaption></figure>'


def rendered(sandbox: Sandbox, name: str, source: Encoded | Pixels, recipe: Recipe) -> Iterator[str]:
    with sandbox.render(source, recipe, Limits()) as renditions:
        notes = [str(note) for note in renditions.notes]
        for one in renditions:
            data = bytes(one.data)
            if one.media_type == "application/json":
                yield f"<figure><pre>{html.escape(data.decode())}</pre></figure>"
                continue
            file = OUT / f"{name}.{recipe.name}.{one.name}.{SUFFIXES[one.media_type]}"
            file.write_bytes(data)
            said = [f"{recipe.name}/{one.name}: {one.width} × {one.height}, {len(data) // 1000} kB", *notes]
            problems: list[str] = []
            if recipe.accepts is not None:
                with Encoded.from_bytes(data) as again:
                    problems = [str(problem) for problem in judge(sandbox.measure(again, Limits()), recipe).problems]
            yield figure(file, "; ".join([*said, *problems]), problem=bool(problems))


def main() -> None:
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir(parents=True)
    recipes = [recipe for recipe in load_recipes().values() if not recipe.hidden]
    recipes += [recipe for name, recipe in load_recipes(HERE).items() if (HERE / f"{name}.toml").exists()]
    body = []
    with Sandbox() as sandbox:
        for name, upload in uploads():
            file = OUT / f"{name}.jpg"
            file.write_bytes(upload)
            figures = [figure(file, "the upload")]
            for recipe in recipes:
                figures += made(sandbox, name, upload, recipe)
            body.append(f"<h2>{name}</h2><section>{''.join(figures)}</section>")
            print(name, flush=True)
    page = f'<!doctype html><meta charset="utf-8"><title>Gallery</title><style>{STYLE}</style>{"".join(body)}'
    (OUT / "index.html").write_text(page, encoding="utf-8")
    print(f"Open {OUT / 'index.html'}")


if __name__ == "__main__":
    main()
