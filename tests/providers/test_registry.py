"""Providers are found by entry points: another package adds one without a change here."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from providers import BrokenProviderError, ProviderRegistry, ProviderTools, UnknownProviderError
from providers.none import NoneProvider


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., ProviderRegistry]:
    """Put a package with entry points on the path, as an installed one would be."""

    def install(code: str, *entries: str) -> ProviderRegistry:
        (tmp_path / "someones_provider.py").write_text(code)
        info = tmp_path / "someones_provider-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: someones-provider\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text("[dayfly.providers]\n" + "\n".join(entries) + "\n")
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.delitem(sys.modules, "someones_provider", raising=False)
        return ProviderRegistry.from_entry_points()

    return install


def test_the_first_party_providers_are_there() -> None:
    assert {"local", "none"} <= set(ProviderRegistry.from_entry_points().names())


def test_an_unknown_name_lists_the_known_ones() -> None:
    registry = ProviderRegistry({"none": NoneProvider})

    with pytest.raises(UnknownProviderError, match="no provider called 'stabilty'; the known ones are: none"):
        registry.get("stabilty")


def test_another_package_adds_one(install: Callable[..., ProviderRegistry]) -> None:
    registry = install(
        "from providers.none import NoneProvider\nclass Idle(NoneProvider):\n    name = 'idle'\n",
        "idle = someones_provider:Idle",
    )

    assert "idle" in registry.names()
    assert registry.build("idle", ProviderTools()).name == "idle"


@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        ("import a_package_that_is_not_there", "cannot be imported: the module 'a_package_that_is_not_there' is not"),
        ("", "names someones_provider:Idle, which does not exist"),
        ("Idle = 3", "which is not a Provider"),
        ("from providers.none import NoneProvider as Idle", "calls itself 'none'"),
    ],
)
def test_one_that_cannot_be_loaded_says_why_and_harms_no_other(
    install: Callable[..., ProviderRegistry], code: str, sentence: str
) -> None:
    registry = install(code, "idle = someones_provider:Idle")

    with pytest.raises(BrokenProviderError, match=sentence):
        registry.get("idle")
    assert registry.get("none") is NoneProvider
