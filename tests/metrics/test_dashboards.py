from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
RULES = ROOT / "metrics" / "rules" / "dayfly.yml"
DASHBOARDS = sorted((ROOT / "metrics" / "dashboards").glob("*.json"))
OPERATIONS = ROOT / "docs" / "operations.md"


def known_names() -> set[str]:
    """Every name that a scrape can carry, from the snapshot of families."""
    names = set()
    for line in (Path(__file__).parent / "names.txt").read_text(encoding="utf-8").splitlines():
        name, kind, _ = line.split()
        names |= {f"{name}_{part}" for part in ("bucket", "count", "sum")} if kind == "histogram" else {name}
    return names


def used_names(expression: str) -> set[str]:
    return set(re.findall(r"\bdayfly_[a-z_]+\b", expression))


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def alerts() -> list[dict[str, Any]]:
    return [rule for rule in rules() if "alert" in rule]


def panels() -> list[dict[str, Any]]:
    return [panel for path in DASHBOARDS for panel in json.loads(path.read_text(encoding="utf-8"))["panels"]]


def test_dashboards_ask_only_for_names_that_exist() -> None:
    asked = {target["expr"] for panel in panels() for target in panel.get("targets", ())}

    assert asked
    assert {name for expression in asked for name in used_names(expression)} <= known_names()


def test_rules_ask_only_for_names_that_exist() -> None:
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    used = {name for rule in rules() for name in re.findall(r"\bdayfly[:_][a-z_:0-9]+\b", rule["expr"])}

    assert used <= known_names() | recorded


def test_every_metric_is_shown_somewhere() -> None:
    expressions = [target["expr"] for panel in panels() for target in panel.get("targets", ())]
    shown = {name for expression in expressions + [rule["expr"] for rule in rules()] for name in used_names(expression)}
    stems = {re.sub(r"_(bucket|count|sum)$", "", name) for name in shown}

    # The number of an epoch means something only beside a receipt.
    assert {re.sub(r"_(bucket|count|sum)$", "", name) for name in known_names()} - stems == {"dayfly_root_epoch"}


def test_panels_do_not_overlap_and_have_their_own_numbers() -> None:
    cells: set[tuple[int, int]] = set()
    for panel in panels():
        place = panel["gridPos"]
        mine = {(place["x"] + i, place["y"] + j) for i in range(place["w"]) for j in range(place["h"])}
        assert not mine & cells, panel["title"]
        assert place["x"] + place["w"] <= 24, panel["title"]
        cells |= mine

    numbers = [panel["id"] for panel in panels()]
    assert len(numbers) == len(set(numbers))


def test_every_alert_has_a_page_in_the_operations_guide() -> None:
    headings = {
        line.strip("# ").lower()
        for line in OPERATIONS.read_text(encoding="utf-8").splitlines()
        if line.startswith("### ")
    }

    for alert in alerts():
        page, _, anchor = alert["annotations"]["runbook"].partition("#")
        assert page == "docs/operations.md"
        assert anchor in headings, alert["alert"]


def test_every_alert_says_who_is_to_wake_up() -> None:
    assert {alert["labels"]["severity"] for alert in alerts()} == {"page", "ticket"}


def test_every_alert_has_a_unit_test() -> None:
    tested = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests/metrics/rules").glob("*_test.yml"))

    assert {alert["alert"] for alert in alerts() if f"alertname: {alert['alert']}" not in tested} == set()
