"""What no schema checks: that the manifests mean what the documentation says."""

from __future__ import annotations

import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from worker.broker import QUEUE
from worker.settings import PREFIX, Settings

ROOT = Path(__file__).parents[2]
BUILDS = ["k8s/base", *sorted(str(path.relative_to(ROOT)) for path in (ROOT / "k8s/overlays").iterdir())]
PROCESSES = {"worker", "sweeper", "exporter"}


@cache
def built(where: str) -> list[dict[str, Any]]:
    kubectl = shutil.which("kubectl", path=str(Path(sys.executable).parent))
    assert kubectl is not None, "kubectl is missing: make setup"
    done = subprocess.run([kubectl, "kustomize", where], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))


def of_kind(where: str, kind: str) -> dict[str, dict[str, Any]]:
    return {found["metadata"]["name"]: found for found in built(where) if found["kind"] == kind}


def settings_of(where: str) -> dict[str, str]:
    data: dict[str, str] = of_kind(where, "ConfigMap")["dayfly-settings"]["data"]
    return data


@pytest.fixture(params=BUILDS)
def where(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_the_pool_is_its_three_processes(where: str) -> None:
    deployments = of_kind(where, "Deployment")

    assert set(deployments) == PROCESSES
    for name, deployment in deployments.items():
        (container,) = deployment["spec"]["template"]["spec"]["containers"]
        assert container["args"] == [name]


def test_pods_are_restricted(where: str) -> None:
    for name, deployment in of_kind(where, "Deployment").items():
        pod = deployment["spec"]["template"]["spec"]
        (container,) = pod["containers"]
        assert pod["securityContext"]["runAsNonRoot"] is True, name
        assert pod["securityContext"]["runAsUser"] >= 10_000, name
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert pod["automountServiceAccountToken"] is False, name
        assert pod["enableServiceLinks"] is False, name
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }, name
        assert {next(iter(volume.keys() - {"name"})) for volume in pod["volumes"]} <= {
            "emptyDir",
            "persistentVolumeClaim",
        }, name


def test_p1_scratch_is_memory_and_counted_in_the_limit(where: str) -> None:
    for name, deployment in of_kind(where, "Deployment").items():
        pod = deployment["spec"]["template"]["spec"]
        scratch = [volume["emptyDir"] for volume in pod["volumes"] if "emptyDir" in volume]
        assert scratch, name
        assert all(volume["medium"] == "Memory" and "sizeLimit" in volume for volume in scratch), name
        assert "memory" in pod["containers"][0]["resources"]["limits"], name


def test_p2_the_exporter_holds_neither_roots_nor_ciphertext(where: str) -> None:
    exporter = of_kind(where, "Deployment")["exporter"]["spec"]["template"]["spec"]

    assert [mount["mountPath"] for mount in exporter["containers"][0]["volumeMounts"]] == ["/tmp"]


def test_p2_roots_and_ciphertext_are_on_volumes_of_their_own(where: str) -> None:
    settings = settings_of(where)
    worker = of_kind(where, "Deployment")["worker"]["spec"]["template"]["spec"]
    mounts = {mount["mountPath"]: mount["name"] for mount in worker["containers"][0]["volumeMounts"]}

    assert settings["DAYFLY_BLOBS"] == "file:///blobs"
    assert settings["DAYFLY_ROOTS_UPLOADS"].startswith("file:///roots/")
    assert settings["DAYFLY_ROOTS_OUTPUTS"].startswith("file:///roots/")
    assert mounts["/blobs"] != mounts["/roots"]


def test_every_setting_exists_and_is_accepted(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = settings_of(where)
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    for name, value in settings.items():
        monkeypatch.setenv(name, value)

    Settings.load()

    assert set(settings) <= known
    for deployment in of_kind(where, "Deployment").values():
        (container,) = deployment["spec"]["template"]["spec"]["containers"]
        assert {entry["name"] for entry in container["env"]} <= known
        assert all("secretKeyRef" in entry["valueFrom"] for entry in container["env"])


def test_secrets_are_only_referred_to(where: str) -> None:
    assert of_kind(where, "Secret") == {}
    assert not [name for name in settings_of(where) if "KEY" in name or "URL" in name]


def test_a_worker_has_more_time_to_stop_than_it_takes_to_drain(where: str) -> None:
    worker = of_kind(where, "Deployment")["worker"]["spec"]["template"]["spec"]

    assert worker["terminationGracePeriodSeconds"] >= int(settings_of(where)["DAYFLY_DRAIN_SECONDS"]) + 15


def test_selectors_find_the_pods_they_mean(where: str) -> None:
    pods = {
        name: deployment["spec"]["template"]["metadata"]["labels"]
        for name, deployment in of_kind(where, "Deployment").items()
    }

    def found(selector: dict[str, Any]) -> set[str]:
        return {name for name, labels in pods.items() if selector["matchLabels"].items() <= labels.items()}

    assert found(of_kind(where, "PodDisruptionBudget")["worker"]["spec"]["selector"]) == {"worker"}
    assert found(of_kind(where, "PodMonitor")["dayfly"]["spec"]["selector"]) == PROCESSES
    policies = of_kind(where, "NetworkPolicy")
    assert found(policies["pool"]["spec"]["podSelector"]) == PROCESSES
    assert found(policies["worker-providers"]["spec"]["podSelector"]) == {"worker"}
    for name, deployment in of_kind(where, "Deployment").items():
        assert found(deployment["spec"]["selector"]) == {name}


def test_probes_and_scrapes_meet_a_port_that_is_served(where: str) -> None:
    for name, deployment in of_kind(where, "Deployment").items():
        (container,) = deployment["spec"]["template"]["spec"]["containers"]
        ports = {port["name"]: port["containerPort"] for port in container["ports"]}
        assert ports == {"metrics": int(settings_of(where)["DAYFLY_METRICS_PORT"])}, name
    (endpoint,) = of_kind(where, "PodMonitor")["dayfly"]["spec"]["podMetricsEndpoints"]
    assert (endpoint["port"], endpoint["path"]) == ("metrics", "/metrics")


def test_workers_are_scaled_on_all_work_and_not_on_what_waits(where: str) -> None:
    spec = of_kind(where, "ScaledObject")["worker"]["spec"]
    (trigger,) = spec["triggers"]

    assert spec["scaleTargetRef"] == {"name": "worker"}
    assert spec["minReplicaCount"] >= 1, "delayed messages are moved by a running worker"
    assert trigger["type"] == "redis"
    assert trigger["metadata"]["listName"] == f"dayfly:broker:{QUEUE}.msgs"
    assert trigger["metadata"]["listLength"] == settings_of(where)["DAYFLY_WORKER_THREADS"]
    assert all(isinstance(value, str) for value in trigger["metadata"].values())
    assert trigger["authenticationRef"]["name"] in of_kind(where, "TriggerAuthentication")


def test_workers_do_not_set_a_number_that_the_scaler_sets(where: str) -> None:
    assert "replicas" not in of_kind(where, "Deployment")["worker"]["spec"]


def test_the_cluster_gets_the_rules_that_are_tested(where: str) -> None:
    tested = yaml.safe_load((ROOT / "metrics/rules/dayfly.yml").read_text(encoding="utf-8"))

    assert of_kind(where, "PrometheusRule")["dayfly"]["spec"] == tested, "run: make rules"


def test_providers_are_reached_on_the_public_internet_only(where: str) -> None:
    (rule,) = of_kind(where, "NetworkPolicy")["worker-providers"]["spec"]["egress"]
    (block,) = [peer["ipBlock"] for peer in rule["to"]]

    assert {"10.0.0.0/8", "100.64.0.0/10", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16"} <= set(block["except"])
    assert rule["ports"] == [{"protocol": "TCP", "port": 443}]
