"""The Kubernetes manifests: valid against the API's own schemas, locked down, and stopping in the right order."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from service_kit.process.address import Tcp
from sidecar.settings import Settings
from tests.support.built import ROOT
from tests.support.deployment import (
    DEPLOY,
    KUSTOMIZATIONS,
    PROGRAMS,
    SHIPPED,
    Manifest,
    containers,
    environment,
    manifests,
    pods,
    rendered,
    tool,
)

OURS = {"session-service", "memory-service", "sidecar", "migrate"}


def workloads() -> list[tuple[str, Manifest]]:
    return [
        (f"{directory.name}/{name}", pod) for directory in KUSTOMIZATIONS for name, pod in pods(manifests(directory))
    ]


WORKLOADS = workloads()
OWN = [(name, pod) for name, pod in WORKLOADS if {each["name"] for each in containers(pod)} & OURS]
MEMORY = [(name, pod) for name, pod in WORKLOADS if "memory-service" in {each["name"] for each in containers(pod)}]

PAGE = (ROOT / "docs/operators/deployment.md").read_text()
APPLIED = re.findall(r"^kubectl apply -k (\S+)", PAGE, re.MULTILINE)

each_pod = pytest.mark.parametrize(("name", "pod"), WORKLOADS, ids=[name for name, _ in WORKLOADS])
each_own_pod = pytest.mark.parametrize(("name", "pod"), OWN, ids=[name for name, _ in OWN])
each_memory_pod = pytest.mark.parametrize(("name", "pod"), MEMORY, ids=[name for name, _ in MEMORY])


def seconds(duration: str) -> int:
    return int(duration.removesuffix("s"))


@pytest.mark.parametrize("version", ["1.30.0", "1.37.0"])
def test_the_api_accepts_every_field(version: str, tmp_path: Path) -> None:
    """Against the schemas of the oldest and the newest version, in strict mode: an unknown field is an error."""
    files = [tmp_path / f"{directory.name}.yaml" for directory in KUSTOMIZATIONS]
    for directory, file in zip(KUSTOMIZATIONS, files, strict=True):
        file.write_text(rendered(directory))
    done = tool(PROGRAMS / "kubernetes-validate", "--strict", "--kubernetes-version", version, *files)
    passed = done.stdout.count("passed") + done.stderr.count("passed")
    assert passed == sum(len(manifests(directory)) for directory in KUSTOMIZATIONS)


@each_pod
def test_every_container_is_locked_down(name: str, pod: Manifest) -> None:
    """What Pod Security's `restricted` profile asks for, a root that cannot be written, and a bound on memory."""
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in containers(pod):
        context = container["securityContext"]
        assert context["allowPrivilegeEscalation"] is False
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert container["resources"]["limits"]["memory"]
        assert container["resources"]["requests"]["cpu"]


@each_own_pod
def test_our_containers_cannot_write_their_root(name: str, pod: Manifest) -> None:
    assert all(container["securityContext"]["readOnlyRootFilesystem"] is True for container in containers(pod))
    assert pod["enableServiceLinks"] is False


@each_memory_pod
def test_the_memory_service_is_on_loopback_and_the_sidecar_before_it(name: str, pod: Manifest) -> None:
    """It publishes no port: nothing outside its pod can reach it past the sidecar."""
    (memory,) = pod["initContainers"]
    (sidecar,) = pod["containers"]
    listen = environment(memory)["MEMORY_SERVICE_LISTEN"]
    assert listen is not None
    assert listen.startswith("127.0.0.1:")
    assert environment(sidecar)["SIDECAR_UPSTREAM"] == f"http://{listen}"
    assert "ports" not in memory


@each_memory_pod
def test_the_memory_service_outlives_the_sidecar(name: str, pod: Manifest) -> None:
    """The kubelet stops a restartable init container after the ordinary ones, and starts it before them."""
    (memory,) = pod["initContainers"]
    assert memory["restartPolicy"] == "Always"
    assert "startupProbe" in memory


@each_memory_pod
def test_it_has_time_to_stop(name: str, pod: Manifest) -> None:
    """The pause before the signal and the drain fit in the grace period, with time left for the memory service."""
    (sidecar,) = pod["containers"]
    pause = sidecar["lifecycle"]["preStop"]["sleep"]["seconds"]
    drain = seconds(environment(sidecar)["SIDECAR_DRAIN_TIMEOUT"] or "30s")
    assert pod["terminationGracePeriodSeconds"] >= pause + drain + 10


@each_memory_pod
def test_probes_and_scraping_use_the_admin_address(name: str, pod: Manifest) -> None:
    """It is not loopback, or neither would reach it, so all but health and metrics needs a token."""
    (sidecar,) = pod["containers"]
    variables = environment(sidecar)
    ports = {port["name"]: port["containerPort"] for port in sidecar["ports"]}
    assert variables["SIDECAR_ADMIN"] == f"0.0.0.0:{ports['admin']}"
    assert variables["SIDECAR_LISTEN"] == f"0.0.0.0:{ports['http']}"
    assert "SIDECAR_ADMIN_TOKEN" in variables
    assert sidecar["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "admin"}
    assert sidecar["livenessProbe"]["httpGet"] == {"path": "/healthz", "port": "admin"}


@pytest.mark.parametrize("directory", SHIPPED, ids=lambda path: path.name)
def test_default_ports_are_the_programs_own(directory: Path) -> None:
    defaults = {"SIDECAR_LISTEN": Settings.model_fields["listen"], "SIDECAR_ADMIN": Settings.model_fields["admin"]}
    for _, pod in pods(manifests(directory)):
        for container in containers(pod):
            for variable, field in defaults.items():
                if value := environment(container).get(variable):
                    assert isinstance(field.default, Tcp)
                    assert value.rpartition(":")[2] == str(field.default.port)


@pytest.mark.parametrize("directory", SHIPPED, ids=lambda path: path.name)
def test_what_selects_finds_something(directory: Path) -> None:
    """Services, policies and budgets select labels that some pod has; named ports exist; scaling finds its target."""
    documents = manifests(directory)
    labels = [d["spec"]["template"]["metadata"]["labels"] for d in documents if "template" in d.get("spec", {})]
    workload_names = {(d["kind"], d["metadata"]["name"]) for d in documents}
    port_names = {p["name"] for _, pod in pods(documents) for c in containers(pod) for p in c.get("ports", ())}
    for document in documents:
        spec = document.get("spec", {})
        selector = {
            "Service": lambda s: s["selector"],
            "NetworkPolicy": lambda s: s["podSelector"]["matchLabels"],
            "PodDisruptionBudget": lambda s: s["selector"]["matchLabels"],
        }.get(document["kind"])
        if selector is not None:
            assert any(selector(spec).items() <= have.items() for have in labels), document["metadata"]["name"]
        for port in re.findall(r"'(?:targetPort|port)': '([a-z]+)'", str(spec)):
            assert port in port_names
        if document["kind"] == "HorizontalPodAutoscaler":
            assert (spec["scaleTargetRef"]["kind"], spec["scaleTargetRef"]["name"]) in workload_names


@pytest.mark.parametrize("directory", APPLIED)
def test_what_the_page_applies_names_its_image(directory: str) -> None:
    """With a tag: the name alone is an image of another registry, or none."""
    images = [container["image"] for _, pod in pods(manifests(ROOT / directory)) for container in containers(pod)]
    assert images
    assert [image for image in images if ":" not in image] == []


def test_the_secrets_of_the_page_are_those_that_the_pods_need() -> None:
    """Each with its key."""
    made = {(name, key) for name, key in re.findall(r"create secret generic (\S+) --from-literal=(\w+)=", PAGE)}
    production = manifests(DEPLOY / "kubernetes/overlays/production")
    entries = [e for _, pod in pods(production) for c in containers(pod) for e in c["env"] if "valueFrom" in e]
    needed = {(e["valueFrom"]["secretKeyRef"]["name"], e["valueFrom"]["secretKeyRef"]["key"]) for e in entries}
    assert made == needed


def test_the_memory_service_of_the_page_takes_the_place_of_ours(tmp_path: Path) -> None:
    """The kustomization of the page renders beside `production`, with its server before the sidecar and on loopback."""
    (own,) = re.findall(r"^```yaml\n(apiVersion: kustomize.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    copy = shutil.copytree(DEPLOY / "kubernetes", tmp_path / "kubernetes")
    (copy / "overlays/own").mkdir()
    (copy / "overlays/own/kustomization.yaml").write_text(own)
    ((memory, sidecar),) = [
        (*pod["initContainers"], *pod["containers"])
        for name, pod in pods(manifests(copy / "overlays/own"))
        if name == "Deployment/memory"
    ]
    assert memory["restartPolicy"] == "Always"
    assert memory["image"] == "registry.example/langgraph-server:1"
    assert "exec" in memory["startupProbe"]
    assert environment(sidecar)["SIDECAR_PROFILE"] == "langgraph"
    assert environment(sidecar)["SIDECAR_UPSTREAM"] == "http://" + ":".join(memory["args"][1::2])


def test_forward_keeps_its_outbox_on_a_volume_of_its_own() -> None:
    """What is owed outlives the pod: a claim for each replica, mounted where the outbox is."""
    (directory,) = [path for path in SHIPPED if path.name == "forward"]
    (memory,) = [d for d in manifests(directory) if d["kind"] == "StatefulSet"]
    (sidecar,) = memory["spec"]["template"]["spec"]["containers"]
    (mount,) = sidecar["volumeMounts"]
    assert environment(sidecar)["SIDECAR_ON_OUTAGE"] == "forward"
    assert (environment(sidecar)["SIDECAR_OUTBOX"] or "").startswith(mount["mountPath"] + "/")
    assert [claim["metadata"]["name"] for claim in memory["spec"]["volumeClaimTemplates"]] == [mount["name"]]
