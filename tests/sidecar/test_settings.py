"""Settings: from the environment and `.env`, checked, every problem at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from service_kit.process.address import Tcp, Unix
from service_kit.settings import BadSettings
from sidecar.admin.effective_settings import effective, unknown_variables
from sidecar.settings import Settings, load_settings


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No variable of the machine and no `.env` of the checkout gets in."""
    monkeypatch.chdir(tmp_path)
    for name in ("SESSION_SERVICE_URL", "CONSUL_HTTP_ADDR", "CONSUL_HOST"):
        monkeypatch.delenv(name, raising=False)


def load(monkeypatch: pytest.MonkeyPatch, **variables: str) -> Settings:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return load_settings()


def problems(monkeypatch: pytest.MonkeyPatch, **variables: str) -> list[str]:
    with pytest.raises(BadSettings) as bad:
        load(monkeypatch, **variables)
    return bad.value.problems


def test_without_a_variable_the_published_defaults_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load(monkeypatch)
    shown = dict(effective(settings))
    published = {
        "SIDECAR_LISTEN": "127.0.0.1:8080",
        "SIDECAR_ADMIN": "127.0.0.1:9901",
        "SIDECAR_UPSTREAM": "http://127.0.0.1:18080",
        "SIDECAR_SESSION_SERVICE": "http://127.0.0.1:8205",
        "SIDECAR_SESSION_SERVICE_NAME": "session_service",
        "SIDECAR_PROFILE": "isa",
        "SIDECAR_MODE": "enforce",
        "SIDECAR_USER_HEADER": "(unset)",
        "SIDECAR_ON_OUTAGE": "reject",
        "SIDECAR_ON_ENDED": "forward",
        "SIDECAR_ID_FORMAT": "opaque",
        "SIDECAR_CACHE_SIZE": "100000",
        "SIDECAR_CACHE_TTL": "300s",
        "SIDECAR_MAX_BODY": "10MiB",
        "SIDECAR_MAX_BUFFERED": "256MiB",
        "SIDECAR_CONNECT_TIMEOUT": "5s",
        "SIDECAR_UPSTREAM_TIMEOUT": "60s",
        "SIDECAR_BODY_TIMEOUT": "30s",
        "SIDECAR_SESSION_TIMEOUT": "2s",
        "SIDECAR_UPSTREAM_CONNECTIONS": "256",
        "SIDECAR_UPSTREAM_IDLE": "4s",
        "SIDECAR_DRAIN_TIMEOUT": "30s",
        "SIDECAR_TRUSTED_PROXIES": "(none)",
        "SIDECAR_OUTBOX": "data/outbox.db",
        "SIDECAR_ADMIN_TOKEN": "(unset)",
        "SIDECAR_DECISION_HEADER": "false",
        "SIDECAR_FAST_LANE": "true",
        "SIDECAR_LOG": "(unset)",
    }
    assert {name: shown[name] for name in published} == published


def test_an_address_may_be_a_host_and_port_or_a_unix_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load(monkeypatch, SIDECAR_LISTEN="[::1]:0", SIDECAR_ADMIN="unix:/run/admin.sock")
    assert (settings.listen, settings.admin) == (Tcp("::1", 0), Unix("/run/admin.sock"))


def test_the_old_name_of_the_session_service_works_and_the_new_one_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load(monkeypatch, SESSION_SERVICE_URL="http://old:1").session_service == "http://old:1"
    assert load(monkeypatch, SIDECAR_SESSION_SERVICE="http://new:2").session_service == "http://new:2"


def test_it_is_known_whether_the_session_service_was_set_explicitly(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not load(monkeypatch).session_service_is_explicit
    assert load(monkeypatch, SESSION_SERVICE_URL="http://127.0.0.1:8205").session_service_is_explicit


def test_a_keyword_argument_overrides_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A keyword argument overrides a field whose variable has another name too."""
    monkeypatch.setenv("SESSION_SERVICE_URL", "http://old")
    monkeypatch.setenv("SIDECAR_FAST_LANE", "true")
    settings = Settings(session_service="http://given", fast_path=False)
    assert (settings.session_service, settings.fast_path) == ("http://given", False)


def test_the_environment_wins_over_the_env_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("SIDECAR_CACHE_SIZE=5\nSIDECAR_MODE=off\n")
    settings = load(monkeypatch, SIDECAR_CACHE_SIZE="7")
    assert (settings.cache_size, settings.mode) == (7, "off")


def test_an_empty_variable_counts_as_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load(monkeypatch, SIDECAR_CACHE_SIZE="").cache_size == 100_000


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("SIDECAR_LISTEN", "8080", "HOST:PORT or unix:/path is allowed"),
        ("SIDECAR_LISTEN", "host:70000", "the port must be 0 to 65535"),
        ("SIDECAR_LISTEN", "unix:relative", "a Unix socket needs an absolute path"),
        ("SIDECAR_UPSTREAM", "memory:18080", "http:// or https:// with a host"),
        ("SIDECAR_UPSTREAM", "http://memory/path", "no path"),
        ("SIDECAR_UPSTREAM", "http://user@memory", "no path"),
        ("SIDECAR_UPSTREAM_CONNECTIONS", "0", "greater than or equal to 1"),
        ("SIDECAR_CACHE_TTL", "0", "greater than 0"),
        ("SIDECAR_CACHE_TTL", "5 minutes", "a number followed by ms, s, m or h"),
        ("SIDECAR_MAX_BODY", "10MB", "KiB, MiB or GiB"),
        ("SIDECAR_MODE", "dry-run", "'enforce', 'shadow' or 'off'"),
        ("SIDECAR_FAST_LANE", "1", "true or false is allowed"),
        ("SIDECAR_USER_HEADER", "X User", "letters, digits and hyphens"),
        ("SIDECAR_TRUSTED_PROXIES", "10.0.0.0/8,proxy", "a comma-separated list of addresses or networks"),
        ("SIDECAR_PROFILE", "unheard-of", "unheard-of"),
        ("SIDECAR_REGISTER_AS", "memory", "set CONSUL_HTTP_ADDR or CONSUL_HOST"),
        ("SIDECAR_MAX_BUFFERED", "1KiB", "at least SIDECAR_MAX_BODY"),
        ("SIDECAR_LOG", "pretty", "'console' or 'json'"),
    ],
)
def test_a_bad_value_is_named_with_its_variable_and_what_is_allowed(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, allowed: str
) -> None:
    found = problems(monkeypatch, **{name: value})
    assert len(found) == 1
    assert found[0].startswith(f"{name}: '{value}': ") or found[0].startswith(f"{name}: ")
    assert allowed in found[0]


def test_every_problem_is_reported_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    bad = {"SIDECAR_LISTEN": "x", "SIDECAR_CACHE_SIZE": "-1", "SIDECAR_REGISTER_AS": "y", "SIDECAR_MAX_BUFFERED": "1"}
    assert {line.partition(":")[0] for line in problems(monkeypatch, **bad)} == set(bad)


def test_registering_from_a_unix_socket_needs_an_address_to_advertise(monkeypatch: pytest.MonkeyPatch) -> None:
    variables = {
        "CONSUL_HOST": "127.0.0.1",
        "SIDECAR_LISTEN": "unix:/run/sidecar.sock",
        "SIDECAR_REGISTER_AS": "memory_service",
    }
    assert ["SIDECAR_ADVERTISE" in line for line in problems(monkeypatch, **variables)] == [True]
    assert load(monkeypatch, SIDECAR_ADVERTISE="10.0.0.1:8080", **variables).register_as == "memory_service"


def test_secrets_are_masked_when_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load(monkeypatch, SIDECAR_ADMIN_TOKEN="hush-1", SIDECAR_SESSION_SERVICE_TOKEN="hush-2")
    assert "hush" not in str(effective(settings))
    assert "hush" not in repr(settings)


@pytest.mark.parametrize("name", ["SIDECAR_ADMIN_TOKEN", "SIDECAR_SESSION_SERVICE_TOKEN", "CONSUL_HTTP_TOKEN"])
@pytest.mark.parametrize("token", ["hush\n", "hush hush", "hüsh", "hush\r\nX-A: b"])
def test_a_token_that_no_header_field_can_carry_is_a_problem_that_hides_it(
    monkeypatch: pytest.MonkeyPatch, name: str, token: str
) -> None:
    """A secret that was read from a file often ends in a line break."""
    (line,) = problems(monkeypatch, **{name: token})
    assert line.startswith(f"{name}: (hidden): visible ASCII characters are allowed")


def test_networks_of_trusted_proxies_are_separated_by_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load(monkeypatch, SIDECAR_TRUSTED_PROXIES="10.0.0.0/8, 192.0.2.1,2001:db8::/32")
    assert [str(network) for network in settings.trusted_proxies] == ["10.0.0.0/8", "192.0.2.1/32", "2001:db8::/32"]


def test_settings_do_not_change_once_they_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load(monkeypatch)
    with pytest.raises(ValueError, match="frozen"):
        settings.cache_size = 1  # type: ignore[misc]


def test_an_unknown_name_is_told_with_the_nearest_known_one() -> None:
    assert unknown_variables({"SIDECAR_UPSTREM": "x", "SIDECAR_MODE": "off", "PATH": "y"}) == [
        "SIDECAR_UPSTREM is not a setting; did you mean SIDECAR_UPSTREAM?"
    ]


def test_an_unknown_name_in_the_env_file_is_told_too(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("SIDECAR_UPSTREM=1\n")
    assert unknown_variables({}) == ["SIDECAR_UPSTREM is not a setting; did you mean SIDECAR_UPSTREAM?"]
