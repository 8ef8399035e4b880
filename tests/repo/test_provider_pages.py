"""
The pages about providers are held to the code: the table is what the capabilities say, the example is an adapter that
passes the contract of all adapters.

`python -m tests.repo.test_provider_pages` writes the table anew.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from providers import (
    EraseSupport,
    IdempotencySupport,
    Operation,
    Provider,
    ProviderRegistry,
    ProviderTools,
    Request,
    WebhookSupport,
)
from providers.models import known_models
from providers.network import NetworkProvider
from tests.providers.provider_contract import ProviderContract

DOCS = Path(__file__).parents[2] / "docs"
PAGE = DOCS / "providers.md"
HOW_TO = DOCS / "adding-a-provider.md"
COLUMNS = (
    "name", "operations", "answers", "leaves this machine", "regions", "charges", "what it keeps", "erases",
    "sees a repetition", "reports the end",
)  # fmt: skip
REPORTS = {WebhookSupport.NONE: "no", WebhookSupport.UNSIGNED: "unsigned"}
BEGIN, END = "<!-- made from the capabilities -->", "<!-- end -->"


def table() -> str:
    """The tables of providers and models, as the page shows them."""
    registry = ProviderRegistry.from_entry_points()
    lines = [f"| {' | '.join(COLUMNS)} |", f"|{' --- |' * len(COLUMNS)}"]
    for name in registry.names():
        adapter = registry.get(name)
        if adapter.__module__.partition(".")[0] != "providers":
            continue
        able = adapter.capabilities
        erases = {EraseSupport.NOT_NEEDED: "nothing to erase", EraseSupport.NONE: "no"}.get(
            able.erase, able.erase.value
        )
        repeats = {IdempotencySupport.NOT_NEEDED: "not needed", IdempotencySupport.NONE: "no"}.get(
            able.idempotency, able.idempotency.value
        )
        cells = [
            f"`{name}`",
            ", ".join(sorted(able.operations)) or "none: the upload itself is rendered",
            "in the call" if able.shape == "sync" else "by a task",
            ", ".join(f"to {host}" for host in hosts(adapter)) or ("to your server" if able.network else "no"),
            ", ".join(able.regions) or "not said",
            "yes" if able.charges else "no",
            able.retention_note,
            erases,
            repeats,
            REPORTS.get(able.webhook, "signed"),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", "| provider | model | for | until | then |", "| --- | --- | --- | --- | --- |"]
    for model in known_models():
        cells = [
            model.provider,
            f"`{model.id}`",
            ", ".join(model.operations),
            str(model.retires or ""),
            model.replaced_by or "",
        ]
        lines.append(f"| {' | '.join(cells)} |".replace("  ", " "))
    return "\n".join(lines)


def hosts(adapter: type[Provider]) -> tuple[str, ...]:
    return adapter.credential_hosts if issubclass(adapter, NetworkProvider) else ()


def page_with(made: str) -> str:
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{made}\n\n{END}{after}"


def test_the_table_is_what_the_capabilities_say() -> None:
    assert PAGE.read_text(encoding="utf-8") == page_with(table())


def test_every_provider_and_every_model_of_the_table_is_real() -> None:
    names = set(ProviderRegistry.from_entry_points().names())

    assert {model.provider for model in known_models()} <= names
    for model in known_models():
        assert model.operations or model.retires, f"{model.id} is neither offered for anything nor retired"


def example() -> type[Provider]:
    (code,) = re.findall(r"^```python\n(.*?)^```$", HOW_TO.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    space: dict[str, type[Provider]] = {"__name__": "mirror_provider"}  # type: ignore[dict-item]
    exec(compile(code, "adding-a-provider.md", "exec"), space)
    return space["MirrorProvider"]


class TestTheExample(ProviderContract):
    @pytest.fixture
    def provider(self, monkeypatch: pytest.MonkeyPatch) -> Provider:
        adapter = example()
        registry = ProviderRegistry({adapter.name: adapter})
        monkeypatch.setattr(ProviderRegistry, "from_entry_points", classmethod(lambda cls: registry))
        return adapter(ProviderTools())

    @pytest.fixture
    def wish(self) -> Request:
        return Request(operation=Operation.GENERATE_IMAGE, idempotency_key="k")


def test_the_page_for_authors_stays_short() -> None:
    assert HOW_TO.read_text(encoding="utf-8").count("\n") <= 30


if __name__ == "__main__":
    PAGE.write_text(page_with(table()), encoding="utf-8")
