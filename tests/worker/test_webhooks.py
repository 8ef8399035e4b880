"""Webhooks are wake-ups: what is forged, repeated, flooded or meant for nobody changes nothing."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from pydantic import SecretStr

from providers import ProviderRegistry, Transient
from providers.webhooks import (
    ForgedWebhookError,
    fal_keys,
    hedra_key,
    verify_fal,
    verify_hedra,
    verify_standard,
)
from tests.fakes.server import KEY
from tests.fakes.task_vendors import FakeBfl, FakeFal, FakeReplicate
from tests.harness import REPO, eventually
from tests.worker.visits import Visits
from worker.accounts import read_accounts, read_webhook_secrets
from worker.bench import Bench
from worker.cli import ExitCode, main
from worker.errors import ServerUnavailableError, SettingsError
from worker.records import JobId, JobState
from worker.webhook_server import FalKeys, waker
from worker.webhooks import LARGEST_BODY, Webhooks, address, mark_of

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
SECRET = "whsec_" + base64.b64encode(b"twenty-four bytes of key").decode()
BODY = b'{"id":"task-0","status":"succeeded"}'
ADDRESS_KEY = b"a key of sixteen bytes or more"
JOB = JobId("0123456789abcdef" * 2)
SIGNER = Ed25519PrivateKey.from_private_bytes(b"7" * 32)
PUBLIC = SIGNER.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
HEDRA_KEY = base64.b64encode(PUBLIC).decode()


def standard(at: datetime, body: bytes = BODY, secret: str = SECRET, given: str = "msg_1") -> dict[str, str]:
    stamp = str(int(at.timestamp()))
    key = base64.b64decode(secret.removeprefix("whsec_"))
    mac = hmac.new(key, f"{given}.{stamp}.".encode() + body, hashlib.sha256).digest()
    signature = f"v1,{base64.b64encode(mac).decode()}"
    return {"webhook-id": given, "webhook-timestamp": stamp, "webhook-signature": signature}


def fal_headers(at: datetime, body: bytes = BODY) -> dict[str, str]:
    stamp = str(int(at.timestamp()))
    message = f"req-1\nuser-1\n{stamp}\n{hashlib.sha256(body).hexdigest()}".encode()
    return {
        "x-fal-webhook-request-id": "req-1",
        "x-fal-webhook-user-id": "user-1",
        "x-fal-webhook-timestamp": stamp,
        "x-fal-webhook-signature": SIGNER.sign(message).hex(),
    }


def hedra_headers(at: datetime, body: bytes = BODY, *, repeated: bool | None = None) -> dict[str, str]:
    stamp = str(int(at.timestamp()))
    flag = "true" if repeated else "false"
    message = f"{stamp}\njob_1\njob.completed\n{flag}\n{hashlib.sha256(body).hexdigest()}".encode()
    headers = {
        "x-hedra-webhook-id": "job_1",
        "x-hedra-webhook-event": "job.completed",
        "x-hedra-webhook-timestamp": stamp,
        "x-hedra-webhook-signature": SIGNER.sign(message).hex(),
    }
    return headers if repeated is None else headers | {"x-hedra-webhook-redelivery": flag}


class TestSignatures:
    def test_the_vector_of_the_standards_own_page_is_accepted(self) -> None:
        """From the specification's example: secret, id, time, body and signature as printed there."""
        headers = {
            "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
            "webhook-timestamp": "1614265330",
            "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
        }

        verify_standard(
            headers,
            b'{"test": 2432232314}',
            "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            now=datetime.fromtimestamp(1614265330, UTC),
        )

    def test_one_of_several_signatures_is_enough(self) -> None:
        headers = standard(NOW)
        headers["webhook-signature"] = f"v1a,xx v1,AAAA {headers['webhook-signature']}"

        verify_standard(headers, BODY, SECRET, now=NOW)
        verify_fal(fal_headers(NOW), BODY, [SIGNER.public_key()], now=NOW)

    @pytest.mark.parametrize(
        "change",
        [
            {"webhook-signature": "v1,AAAA"},
            {"webhook-signature": "v1,é"},
            {"webhook-signature": ""},
            {"webhook-id": "msg_2"},
            {"webhook-timestamp": str(int(NOW.timestamp()) + 1)},
            {"webhook-timestamp": "now"},
            {"webhook-timestamp": "9" * 30},
            {"webhook-timestamp": "٣"},
        ],
    )
    def test_a_changed_header_is_a_forgery(self, change: dict[str, str]) -> None:
        with pytest.raises(ForgedWebhookError):
            verify_standard({**standard(NOW), **change}, BODY, SECRET, now=NOW)

    @pytest.mark.parametrize("name", ["webhook-id", "webhook-timestamp", "webhook-signature"])
    def test_a_missing_header_is_a_forgery(self, name: str) -> None:
        headers = standard(NOW)
        del headers[name]

        with pytest.raises(ForgedWebhookError):
            verify_standard(headers, BODY, SECRET, now=NOW)

    @pytest.mark.parametrize("minutes", [-6, 6])
    def test_an_old_or_early_one_is_refused_although_it_is_signed(self, minutes: int) -> None:
        late = NOW + timedelta(minutes=minutes)

        with pytest.raises(ForgedWebhookError, match="time"):
            verify_standard(standard(NOW), BODY, SECRET, now=late)
        with pytest.raises(ForgedWebhookError, match="time"):
            verify_fal(fal_headers(NOW), BODY, [SIGNER.public_key()], now=late)

    def test_another_body_or_another_key_is_a_forgery(self) -> None:
        other = Ed25519PrivateKey.generate().public_key()
        with pytest.raises(ForgedWebhookError):
            verify_standard(standard(NOW), BODY + b" ", SECRET, now=NOW)
        with pytest.raises(ForgedWebhookError):
            verify_fal(fal_headers(NOW), BODY + b" ", [SIGNER.public_key()], now=NOW)
        with pytest.raises(ForgedWebhookError):
            verify_fal(fal_headers(NOW), BODY, [other], now=NOW)
        with pytest.raises(ForgedWebhookError):
            verify_fal({**fal_headers(NOW), "x-fal-webhook-signature": "zz"}, BODY, [other], now=NOW)

    @pytest.mark.parametrize("repeated", [None, False, True])
    def test_hedras_signature_is_accepted_also_on_a_repetition(self, repeated: bool | None) -> None:
        verify_hedra(hedra_headers(NOW, repeated=repeated), BODY, hedra_key(HEDRA_KEY), now=NOW)

    @pytest.mark.parametrize(
        "change",
        [
            {"x-hedra-webhook-id": "job_2"},
            {"x-hedra-webhook-event": "job.failed"},
            {"x-hedra-webhook-redelivery": "true"},
            {"x-hedra-webhook-timestamp": str(int(NOW.timestamp()) + 1)},
            {"x-hedra-webhook-timestamp": "now"},
            {"x-hedra-webhook-signature": "zz"},
            {"x-hedra-webhook-signature": ""},
            {"x-hedra-webhook-signature": "00" * 64},
        ],
    )
    def test_a_changed_header_of_hedras_is_a_forgery(self, change: dict[str, str]) -> None:
        with pytest.raises(ForgedWebhookError):
            verify_hedra({**hedra_headers(NOW), **change}, BODY, hedra_key(HEDRA_KEY), now=NOW)

    @pytest.mark.parametrize("name", ["id", "event", "timestamp", "signature"])
    def test_a_missing_header_of_hedras_is_a_forgery(self, name: str) -> None:
        headers = hedra_headers(NOW)
        del headers[f"x-hedra-webhook-{name}"]

        with pytest.raises(ForgedWebhookError, match="missing"):
            verify_hedra(headers, BODY, hedra_key(HEDRA_KEY), now=NOW)

    def test_another_body_key_or_time_of_hedras_is_a_forgery(self) -> None:
        other = Ed25519PrivateKey.generate().public_key()
        for headers, body, key, now in [
            (hedra_headers(NOW), BODY + b" ", SIGNER.public_key(), NOW),
            (hedra_headers(NOW), BODY, other, NOW),
            (hedra_headers(NOW), BODY, SIGNER.public_key(), NOW + timedelta(minutes=6)),
        ]:
            with pytest.raises(ForgedWebhookError):
                verify_hedra(headers, body, key, now=now)

    @pytest.mark.parametrize("text", ["", "AAAA", "not base64", SECRET])
    def test_what_is_no_public_key_is_none(self, text: str) -> None:
        with pytest.raises(ValueError):
            hedra_key(text)

    def test_fals_published_keys_are_read_and_nonsense_is_passed_over(self) -> None:
        x = base64.urlsafe_b64encode(PUBLIC).decode().rstrip("=")
        document = {"keys": [{"kty": "OKP", "crv": "Ed25519", "x": x}, {"x": "AAAA"}, {"x": 7}, "junk"]}

        (key,) = fal_keys(document)

        verify_fal(fal_headers(NOW), BODY, [key], now=NOW)
        assert fal_keys(None) == fal_keys({"keys": "x"}) == []

    def test_published_keys_are_fetched_once_and_a_failure_is_not_kept(self) -> None:
        x = base64.urlsafe_b64encode(PUBLIC).decode()
        answers: list[Any] = [None, {"keys": [{"x": x}]}]
        keys = FalKeys(lambda: answers.pop(0))

        with pytest.raises(Transient):
            keys()
        assert len(list(keys())) == len(list(keys())) == 1


class Receiver:
    """The application with a wake-up that only writes down."""

    def __init__(self) -> None:
        self.woken: list[str] = []
        self.away = False
        self.application = Webhooks(
            key=ADDRESS_KEY,
            wake=self._wake,
            registry=ProviderRegistry.from_entry_points(),
            secrets={"replicate": SECRET, "hedra": HEDRA_KEY},
            keys=lambda: [SIGNER.public_key()],
        )

    def _wake(self, job_id: JobId) -> bool:
        if self.away:
            raise ServerUnavailableError("Redis cannot be reached.")
        self.woken.append(job_id)
        return True

    def post(
        self, path: str, body: bytes = BODY, headers: dict[str, str] | None = None, *, method: str = "POST"
    ) -> int:
        parts = [body[at : at + 65536] for at in range(0, len(body), 65536)] or [b""]
        sent: list[Any] = []
        read = iter(parts)

        async def receive() -> dict[str, Any]:
            part = next(read)
            return {"type": "http.request", "body": part, "more_body": part is not parts[-1]}

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {
            "type": "http",
            "method": method,
            "path": path,
            "headers": [(name.encode(), value.encode()) for name, value in (headers or {}).items()],
        }
        asyncio.run(self.application(scope, receive, send))
        return int(sent[0]["status"])


@pytest.fixture
def receiver() -> Receiver:
    return Receiver()


def path(provider: str, job: str = JOB) -> str:
    return f"/{provider}/{job}/{mark_of(ADDRESS_KEY, provider, job)}"


def test_a_signed_report_wakes_its_job(receiver: Receiver) -> None:
    now = datetime.now(UTC)

    assert receiver.post(path("replicate"), headers=standard(now)) == 204
    assert receiver.post(path("fal"), headers=fal_headers(now)) == 204
    assert receiver.post(path("hedra"), headers=hedra_headers(now)) == 204
    assert receiver.post(path("bfl"), headers={}) == 204
    assert receiver.woken == [JOB] * 4


@pytest.mark.parametrize("provider", ["kling", "ark", "luma", "heygen", "gemini"])
def test_a_report_that_nobody_signs_wakes_its_job_by_its_address_alone(receiver: Receiver, provider: str) -> None:
    assert receiver.post(path(provider)) == 204
    assert receiver.woken == [JOB]


@pytest.mark.parametrize(
    ("where", "headers", "status"),
    [
        ("/", {}, 404),
        (f"/kling/{JOB}/{'A' * 32}", {}, 404),
        (f"/kling/{JOB}/{mark_of(b'another key of sixteen', 'kling', JOB)}", {}, 404),
        (path("kling").replace("/kling/", "/fal/"), {}, 404),
        (path("kling").replace(JOB, "f" * 32), {}, 404),
        (path("kling") + "/x", {}, 404),
        (path("replicate"), {}, 401),
        (path("replicate"), standard(datetime.now(UTC), secret="whsec_AAAA"), 401),
        (path("replicate"), standard(datetime.now(UTC) - timedelta(minutes=9)), 401),
        (path("fal"), {}, 401),
        (path("hedra"), {}, 401),
        (path("hedra"), hedra_headers(datetime.now(UTC) - timedelta(minutes=9)), 401),
        (path("hedra"), hedra_headers(datetime.now(UTC), BODY + b" "), 401),
        (path("runway"), {}, 401),
        (path("dashscope"), {}, 401),
        (path("stability"), {}, 401),
        (path("local"), {}, 401),
    ],
)
def test_a_forgery_wakes_nobody(receiver: Receiver, where: str, headers: dict[str, str], status: int) -> None:
    assert receiver.post(where, headers=headers) == status
    assert receiver.woken == []


def test_what_is_not_posted_or_too_large_wakes_nobody(receiver: Receiver) -> None:
    assert receiver.post(path("kling"), method="GET") == 405
    assert receiver.post(path("kling"), bytes(LARGEST_BODY + 1)) == 413
    assert receiver.woken == []


def test_a_body_is_never_read_for_an_address_that_is_wrong(receiver: Receiver) -> None:
    async def receive() -> dict[str, Any]:
        raise AssertionError("it was read")

    async def send(message: Any) -> None:
        pass

    scope = {"type": "http", "method": "POST", "path": "/kling/x/y", "headers": []}
    asyncio.run(receiver.application(scope, receive, send))


def test_when_redis_is_away_the_provider_is_asked_to_come_again(receiver: Receiver) -> None:
    receiver.away = True

    assert receiver.post(path("kling")) == 503


def test_a_job_is_woken_once_however_many_reports_come(visits: Visits) -> None:
    """Replays and floods of one report are one report; a job that does not wait for a task is left alone."""
    bench = visits.bench
    wake = waker(bench.jobs, bench.broker)
    job = visits.submit("darkroom")
    too_early = wake(job.id)
    visits.until(job.id, lambda record: record.state is JobState.AWAITING)
    before = bench.broker.lengths()["jobs"]

    answers = [wake(job.id) for _ in range(50)]

    assert (too_early, answers) == (False, [True] + [False] * 49)
    assert bench.broker.lengths()["jobs"] == before + 1
    assert bench.jobs.claim(job.id, lease_for=timedelta(seconds=5), most_strikes=5).held, "its pause is over"
    assert wake(job.id) is False
    assert wake(JobId("f" * 32)) is False
    assert not visits.pool.deployment.redis.exists(f"dayfly:job:{'f' * 32}")


@pytest.fixture
def fakes() -> Iterator[dict[str, Any]]:
    with FakeFal() as fal, FakeReplicate() as replicate, FakeBfl() as bfl:
        yield {"fal": fal, "replicate": replicate, "bfl": bfl}


def test_an_adapter_is_told_the_jobs_own_address(visits: Visits, fakes: dict[str, Any]) -> None:
    update = {"webhooks_url": "https://hooks.example/in", "webhooks_key": SecretStr(ADDRESS_KEY.decode())}
    visits.account("fal", fakes["fal"].url)
    without = visits.submit("fal")
    visits.once(without.id)
    visits.bench = _with_settings(visits, update)
    job = visits.submit("fal")
    visits.once(job.id)

    submits = [seen for seen in fakes["fal"].seen if seen.method == "POST"]
    assert submits[0].query == ""
    assert submits[1].query.startswith("fal_webhook=https%3A%2F%2Fhooks.example%2Fin%2Ffal%2F" + job.id)
    assert address("https://hooks.example/in/", ADDRESS_KEY, "fal", job.id).endswith(
        mark_of(ADDRESS_KEY, "fal", job.id)
    )


def _with_settings(visits: Visits, update: dict[str, Any]) -> Bench:
    return replace(visits.bench, settings=visits.bench.settings.model_copy(update=update))


def test_the_secrets_are_read_apart_from_the_accounts() -> None:
    environ = {"DAYFLY_PROVIDER_REPLICATE_WEBHOOK_SECRET": SECRET}

    assert read_webhook_secrets(["replicate", "fal"], environ) == {"replicate": SECRET}
    assert read_accounts(["replicate"], environ) == {}
    with pytest.raises(SettingsError, match="whsec_") as caught:
        read_webhook_secrets(["replicate"], {"DAYFLY_PROVIDER_REPLICATE_WEBHOOK_SECRET": "whsec_!canary"})
    assert "canary" not in str(caught.value)


def test_the_process_receives_wakes_logs_no_address_and_stops(visits: Visits) -> None:
    visits_job = visits.submit("darkroom")
    visits.until(visits_job.id, lambda record: record.state is JobState.AWAITING)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-m", "worker.cli", "webhooks", "--port", str(port)],
        env={
            **visits.pool.environment,
            "PYTHONPATH": f"{REPO}:{REPO / 'tests/fakes/site'}",
            "DAYFLY_WEBHOOKS_KEY": ADDRESS_KEY.decode(),
            "DAYFLY_PROVIDER_REPLICATE_WEBHOOK_SECRET": SECRET,
        },
        cwd=visits.pool.folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    try:
        eventually(lambda: post(port, "/") == 404, what="it listens")
        headers = standard(datetime.now(UTC))

        assert post(port, path("replicate", visits_job.id), headers) == 204
        assert post(port, path("replicate", visits_job.id)) == 401
        assert visits.pool.deployment.redis.hget(f"dayfly:job:{visits_job.id}", "woken_at")
    finally:
        process.terminate()
        output, _ = process.communicate(timeout=20)
    assert process.returncode == 0, output
    assert mark_of(ADDRESS_KEY, "replicate", visits_job.id).encode() not in output
    assert KEY.encode() not in output


def post(port: int, where: str, headers: dict[str, str] | None = None) -> int:
    request = urllib.request.Request(f"http://127.0.0.1:{port}{where}", data=BODY, headers=headers or {})
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code
    except OSError:
        return 0


def test_a_public_key_that_is_none_is_refused_at_the_start(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DAYFLY_WEBHOOKS_KEY", ADDRESS_KEY.decode())
    monkeypatch.setenv("DAYFLY_PROVIDER_HEDRA_WEBHOOK_SECRET", base64.b64encode(b"canary").decode())

    assert main(["webhooks"]) == ExitCode.SETTINGS
    told = capsys.readouterr().err
    assert "DAYFLY_PROVIDER_HEDRA_WEBHOOK_SECRET" in told
    assert base64.b64encode(b"canary").decode() not in told


def test_nothing_runs_without_the_key_of_the_addresses(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["webhooks"]) == ExitCode.SETTINGS
    assert "DAYFLY_WEBHOOKS_KEY" in capsys.readouterr().err
