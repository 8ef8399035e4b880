"""What makers of films want to know, read from a request: numbers, shapes, words of a limited length."""

from __future__ import annotations

from collections.abc import Sequence

from providers.errors import InvalidRequest
from providers.exchange import Request


def number(request: Request, name: str, default: int | None = None) -> int | None:
    """
    Return the option *name* as a whole number, or *default* if it is not given.

    Raises:
        InvalidRequest: It is given and is none.
    """
    text = request.options.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) < 12):
        raise InvalidRequest(f"The option {name!r} is not a whole number.", field=name)
    return int(text)


def numbers(request: Request, *names: str) -> dict[str, int]:
    """
    Return those of the options *names* that are given, as whole numbers.

    Raises:
        InvalidRequest: One is given and is none.
    """
    found = {name: number(request, name) for name in names}
    return {name: value for name, value in found.items() if value is not None}


def texts(request: Request, *names: str) -> dict[str, str]:
    """Return those of the options *names* that are given, as they are."""
    return {name: request.options[name] for name in names if name in request.options}


def shape(request: Request, shapes: Sequence[str]) -> str:
    """
    Return which of *shapes*, written as ``width:height``, is most like the picture's; without a picture the first.

    A film of another shape would cut or bend what the picture shows.
    """
    if request.input is None:
        return shapes[0]
    wanted = request.input.width / request.input.height

    def unlikeness(each: str) -> float:
        width, _, height = each.partition(":")
        ratio = int(width) / int(height)
        return max(ratio / wanted, wanted / ratio)

    return min(shapes, key=unlikeness)


def short(words: str, most: int, provider: str) -> str:
    """
    Return *words* if they are not longer than *most* UTF-16 units, which is how the vendors count.

    Raises:
        InvalidRequest: They are longer.
    """
    if len(words.encode("utf-16-le")) // 2 > most:
        raise InvalidRequest(f"The provider {provider!r} takes prompts up to {most} characters.", field="prompt")
    return words


def report_to(request: Request, field: str) -> dict[str, str]:
    """Return, as *field*, the address at which the end of the task is to be reported, or nothing."""
    return {} if request.webhook is None else {field: request.webhook}
