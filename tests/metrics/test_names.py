from __future__ import annotations

from pathlib import Path

from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import Metric

from metrics import REGISTRY, CallOutcome, register_providers
from metrics.figures import AccountFigures, PoolCollector, PoolFigures
from metrics.instruments import PROVIDER_CALLS

SNAPSHOT = Path(__file__).parent / "names.txt"
FOREIGN = ("process_", "python_")


def families() -> list[Metric]:
    pool = CollectorRegistry()
    pool.register(PoolCollector(lambda: PoolFigures(messages={"images": 0}, providers={"acme": AccountFigures()})))
    found = [family for registry in (REGISTRY, pool) for family in registry.collect()]
    return [family for family in found if not family.name.startswith(FOREIGN)]


def describe(family: Metric) -> str:
    labels = sorted({label for sample in family.samples for label in sample.labels} - {"le"})
    name = family.name + ("_total" if family.type == "counter" else "")
    return f"{name} {family.type} {','.join(labels) or '-'}"


def test_the_names_types_and_labels_are_those_that_dashboards_know() -> None:
    register_providers(["local", "none"])

    found = sorted(describe(family) for family in families())

    assert found == SNAPSHOT.read_text(encoding="utf-8").splitlines()


def test_every_family_is_documented_in_plain_words() -> None:
    for family in families():
        assert family.documentation.endswith("."), family.name


def test_every_series_exists_before_anything_was_counted() -> None:
    register_providers(["local", "none"])

    counted = {family.name: len(family.samples) for family in families()}

    assert counted["dayfly_sandbox_runs"] == 5 * 7
    assert all(counted.values()), "a family without samples breaks rates and alerts"


def test_providers_exist_at_zero_once_they_are_registered() -> None:
    register_providers(["acme"])

    shown = {
        sample.labels["outcome"]: sample.value
        for family in PROVIDER_CALLS.collect()
        for sample in family.samples
        if sample.labels["provider"] == "acme" and sample.name.endswith("_total")
    }
    for outcome in CallOutcome:
        PROVIDER_CALLS.remove("acme", outcome)

    assert shown == dict.fromkeys(CallOutcome, 0.0)
