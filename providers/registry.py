"""
Providers by name, found through the entry points of the group ``dayfly.providers``.

A package that ships a provider names its class there; nothing in this project has to change.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Final, Self

from providers.errors import BrokenProviderError, UnknownProviderError
from providers.protocol import Provider, ProviderTools

ENTRY_POINT_GROUP: Final = "dayfly.providers"


class ProviderRegistry:
    """The installed providers. An adapter is imported when it is first asked for, not before."""

    def __init__(self, found: Mapping[str, EntryPoint | type[Provider]]) -> None:
        self._found = dict(sorted(found.items()))
        self._loaded: dict[str, type[Provider]] = {}

    @classmethod
    def from_entry_points(cls) -> Self:
        """Read what is installed. Looks at ``sys.path`` once; imports nothing."""
        return cls({point.name: point for point in entry_points(group=ENTRY_POINT_GROUP)})

    def names(self) -> tuple[str, ...]:
        """Return every registered name, sorted."""
        return tuple(self._found)

    def get(self, name: str) -> type[Provider]:
        """
        Return the adapter's class, whose capabilities can be read without building it.

        Raises:
            UnknownProviderError: No such name; the message lists the known ones.
            BrokenProviderError: The adapter cannot be imported or is not a `Provider`.
        """
        if name in self._loaded:
            return self._loaded[name]
        if name not in self._found:
            raise UnknownProviderError(name, self.names())
        found = self._found[name]
        if isinstance(found, EntryPoint):
            found = _load(name, found)
        self._loaded[name] = found
        return found

    def build(self, name: str, tools: ProviderTools) -> Provider:
        """
        Return an adapter that works with *tools*.

        Raises:
            UnknownProviderError: No such name; the message lists the known ones.
            BrokenProviderError: The adapter cannot be imported or is not a `Provider`.
        """
        return self.get(name)(tools)


def _load(name: str, point: EntryPoint) -> type[Provider]:
    try:
        loaded = point.load()
    except ImportError as error:
        missing = f": the module {error.name!r} is not installed" if error.name else ""
        raise BrokenProviderError(f"The provider {name!r} ({point.value}) cannot be imported{missing}.") from error
    except AttributeError as error:
        raise BrokenProviderError(f"The provider {name!r} names {point.value}, which does not exist.") from error
    if not (isinstance(loaded, type) and issubclass(loaded, Provider)):
        raise BrokenProviderError(f"The provider {name!r} names {point.value}, which is not a Provider.")
    if loaded.name != name:
        raise BrokenProviderError(f"The provider {name!r} ({point.value}) calls itself {loaded.name!r}.")
    return loaded
