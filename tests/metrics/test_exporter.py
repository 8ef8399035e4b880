from __future__ import annotations

import http.client
import json
import logging
import threading
from collections.abc import Callable

import pytest
from prometheus_client.parser import text_string_to_metric_families

from metrics.exporter import ClassFigures, Health, MetricsServer, PoolFigures, serve, serve_process_metrics
from metrics.instruments import JOBS_ENDED, JobOutcome

UPLOADS = ClassFigures(
    live=3,
    overdue=1,
    oldest_deadline=1_795_000_000.5,
    created=9,
    destroyed={"done": 6},
    root_epoch=42,
    root_created=7.0,
)
FIGURES = PoolFigures(
    classes={"upload": UPLOADS},
    receipts_pending=5,
    ciphertext_doomed=2,
    jobs_open={"awaiting": 4},
    messages={"images": 8},
)


def get(server: MetricsServer, path: str, *, method: str = "GET", accept: str = "") -> tuple[int, str, str]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    try:
        connection.request(method, path, headers={"Accept": accept})
        answer = connection.getresponse()
        return answer.status, answer.headers["Content-Type"], answer.read().decode()
    finally:
        connection.close()


def samples(body: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(body)
        for sample in family.samples
    }


def value(body: str, name: str, **labels: str) -> float:
    return samples(body)[name, frozenset(labels.items())]


def failing() -> PoolFigures:
    raise ConnectionError("redis://:hunter2@keys:6379 refused")


def test_a_scrape_shows_what_the_reader_says_at_that_moment() -> None:
    readings = iter([FIGURES, PoolFigures(receipts_pending=6)])

    with serve("127.0.0.1", 0, lambda: next(readings)) as server:
        _, _, first = get(server, "/metrics")
        _, _, second = get(server, "/metrics")

    assert value(first, "dayfly_objects_live", object_class="upload") == 3
    assert value(first, "dayfly_objects_overdue", object_class="upload") == 1
    assert value(first, "dayfly_oldest_deadline_timestamp_seconds", object_class="upload") == 1_795_000_000.5
    assert value(first, "dayfly_objects_created_total", object_class="upload") == 9
    assert value(first, "dayfly_objects_destroyed_total", object_class="upload", reason="done") == 6
    assert value(first, "dayfly_root_epoch", object_class="upload") == 42
    assert value(first, "dayfly_root_created_timestamp_seconds", object_class="upload") == 7
    assert value(first, "dayfly_ciphertext_doomed") == 2
    assert value(first, "dayfly_jobs_open", state="awaiting") == 4
    assert value(first, "dayfly_messages", queue="images") == 8
    assert value(first, "dayfly_key_store_up") == 1
    assert [value(body, "dayfly_receipts_pending") for body in (first, second)] == [5, 6]


def test_what_the_reader_does_not_mention_is_zero_and_not_absent() -> None:
    with serve("127.0.0.1", 0, PoolFigures) as server:
        _, _, body = get(server, "/metrics")

    assert value(body, "dayfly_objects_live", object_class="output") == 0
    assert value(body, "dayfly_objects_destroyed_total", object_class="output", reason="root-lost") == 0
    assert value(body, "dayfly_jobs_open", state="rendering") == 0


def test_an_unreadable_store_is_said_and_never_shown_as_old_numbers() -> None:
    with serve("127.0.0.1", 0, failing) as server:
        status, _, body = get(server, "/metrics")
        health, _, facts = get(server, "/healthz")

    names = {name for name, _ in samples(body)}
    assert status == 200
    assert value(body, "dayfly_key_store_up") == 0
    assert {name for name in names if name.startswith("dayfly_")} == {"dayfly_key_store_up"}
    assert health == 503
    assert json.loads(facts) == {"status": "failing", "detail": "the key store does not answer"}


def test_p1_the_address_of_an_unreadable_store_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)

    with serve("127.0.0.1", 0, failing) as server:
        get(server, "/metrics")

    assert "ConnectionError" in caplog.text
    assert "hunter2" not in caplog.text


def test_a_store_that_comes_back_is_shown_again() -> None:
    answers: list[Callable[[], PoolFigures]] = [failing, lambda: FIGURES]

    with serve("127.0.0.1", 0, lambda: answers.pop(0)()) as server:
        down = value(get(server, "/metrics")[2], "dayfly_key_store_up")
        up = value(get(server, "/metrics")[2], "dayfly_key_store_up")

    assert (down, up) == (0, 1)


def test_scrapes_at_once_read_the_store_one_after_another() -> None:
    inside = 0
    most = 0
    release = threading.Event()

    def read() -> PoolFigures:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        release.wait(5)
        inside -= 1
        return FIGURES

    with serve("127.0.0.1", 0, read) as server:
        scrapes = [threading.Thread(target=get, args=(server, "/metrics")) for _ in range(4)]
        for scrape in scrapes:
            scrape.start()
        release.set()
        for scrape in scrapes:
            scrape.join()

    assert most == 1


def test_a_process_shows_its_own_counters_and_its_health() -> None:
    health = Health(True, "consuming")
    before = JOBS_ENDED.labels(outcome=JobOutcome.DONE)._value.get()

    with serve_process_metrics("127.0.0.1", 0, lambda: health) as server:
        JOBS_ENDED.labels(outcome=JobOutcome.DONE).inc()
        _, _, body = get(server, "/metrics")
        status, content_type, facts = get(server, "/healthz")

    assert value(body, "dayfly_jobs_ended_total", outcome="done") == before + 1
    assert (status, content_type) == (200, "application/json")
    assert json.loads(facts) == {"status": "ok", "detail": "consuming"}


def test_a_process_that_does_not_work_answers_503() -> None:
    with serve_process_metrics("127.0.0.1", 0, lambda: Health(False, "consumers stopped: jobs")) as server:
        status, _, facts = get(server, "/healthz")

    assert status == 503
    assert json.loads(facts)["status"] == "failing"


def test_a_health_check_that_raises_leaves_the_server_serving(caplog: pytest.LogCaptureFixture) -> None:
    def broken() -> Health:
        raise RuntimeError("subject u-381")

    with serve_process_metrics("127.0.0.1", 0, broken) as server:
        with pytest.raises(http.client.HTTPException):
            get(server, "/healthz")
        status, _, _ = get(server, "/metrics")

    assert status == 200
    assert "RuntimeError" in caplog.text
    assert "u-381" not in caplog.text


def test_open_metrics_is_served_to_who_asks_for_it() -> None:
    with serve("127.0.0.1", 0, lambda: FIGURES) as server:
        _, content_type, body = get(server, "/metrics", accept="application/openmetrics-text; version=1.0.0")

    assert content_type.startswith("application/openmetrics-text")
    assert body.endswith("# EOF\n")


def test_any_other_path_says_what_there_is() -> None:
    with serve("127.0.0.1", 0, lambda: FIGURES) as server:
        status, _, body = get(server, "/debug/vars")
        head, _, nothing = get(server, "/healthz", method="HEAD")

    assert status == 404
    assert "/metrics" in body
    assert (head, nothing) == (200, "")


def test_a_taken_port_is_an_error_at_start() -> None:
    with serve("127.0.0.1", 0, lambda: FIGURES) as server, pytest.raises(OSError, match="in use"):
        serve("127.0.0.1", server.port, lambda: FIGURES)
