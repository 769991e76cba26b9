"""The compose file: valid, migrating before serving, and with one way in."""

from __future__ import annotations

import yaml

import memory_service.settings
import session_service.settings
import sidecar.settings
from tests.support.deployment import DEPLOY, PROGRAMS, compose, tool

SERVICES = compose()["services"]
OURS = {name: service for name, service in SERVICES.items() if "build" in service}


def test_it_follows_the_compose_specification() -> None:
    tool(PROGRAMS / "check-jsonschema", "--builtin-schema", "vendor.compose-spec", DEPLOY / "compose.yaml")


def test_only_the_sidecar_publishes_a_port_for_clients() -> None:
    """Of our three programs; it is bound to loopback, for the TLS terminator in front."""
    published = {name: service["ports"] for name, service in OURS.items() if "ports" in service}
    assert published == {"sidecar": ["127.0.0.1:8080:8080"]}


def test_the_memory_service_shares_a_network_only_with_the_sidecar_and_the_database() -> None:
    networks = {name: set(service.get("networks", ["default"])) for name, service in SERVICES.items()}
    sharing = {name for name, joined in networks.items() if joined & networks["memory-service"]}
    assert sharing == {"memory-service", "sidecar", "postgres"}
    assert all(compose()["networks"][name]["internal"] for name in networks["memory-service"])


def test_each_service_waits_for_its_migration() -> None:
    for name in ("session", "memory"):
        condition = SERVICES[f"{name}-service"]["depends_on"][f"{name}-migrate"]["condition"]
        assert condition == "service_completed_successfully"
        assert SERVICES[f"{name}-migrate"]["command"] == [f"{name}-service", "migrate"]
        assert SERVICES[f"{name}-migrate"]["restart"] == "no"


def test_the_outbox_is_on_a_volume_where_the_image_has_a_directory_of_its_user() -> None:
    """A new named volume takes its owner from the directory of the image that it covers."""
    (volume,) = SERVICES["sidecar"]["volumes"]
    name, _, path = volume.partition(":")
    assert name in compose()["volumes"]
    assert SERVICES["sidecar"]["environment"]["SIDECAR_OUTBOX"].startswith(f"{path}/")
    dockerfile = (DEPLOY / "Dockerfile").read_text()
    assert f"mkdir -p {path}" in dockerfile
    assert f"--chown=65532:65532 {path.rpartition('/')[0]}" in dockerfile


def test_ours_run_read_only_and_without_privileges() -> None:
    for service in OURS.values():
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]


def test_there_is_more_time_to_stop_than_to_drain() -> None:
    assert all(int(service["stop_grace_period"].removesuffix("s")) > 30 for service in OURS.values())


def test_the_sidecar_starts_last_and_so_stops_first() -> None:
    assert {"memory-service", "session-service"} <= set(SERVICES["sidecar"]["depends_on"])
    assert all(c["condition"] == "service_healthy" for c in SERVICES["sidecar"]["depends_on"].values())


def test_every_mounted_file_exists() -> None:
    for service in SERVICES.values():
        for volume in service.get("volumes", ()):
            if volume.startswith("./"):
                assert (DEPLOY / volume.partition(":")[0]).is_file(), volume


def test_ports_are_the_programs_defaults() -> None:
    """All ways of running it have the same ports."""
    defaults = {
        "SIDECAR_LISTEN": sidecar.settings.Settings.model_fields["listen"].default,
        "SIDECAR_ADMIN": sidecar.settings.Settings.model_fields["admin"].default,
        "SESSION_SERVICE_LISTEN": session_service.settings.Settings.model_fields["listen"].default,
        "MEMORY_SERVICE_LISTEN": memory_service.settings.Settings.model_fields["listen"].default,
    }
    set_there = {
        name: value
        for service in OURS.values()
        for name, value in service.get("environment", {}).items()
        if name in defaults
    }
    assert set_there == {name: f"0.0.0.0:{address.port}" for name, address in defaults.items()}


def test_prometheus_scrapes_services_that_exist_where_they_listen() -> None:
    configuration = yaml.safe_load((DEPLOY / "observability/prometheus.yaml").read_text())
    targets = [
        t for job in configuration["scrape_configs"] for static in job["static_configs"] for t in static["targets"]
    ]
    for target in targets:
        name, _, port = target.partition(":")
        assert any(value.endswith(f":{port}") for value in SERVICES[name]["environment"].values())
