"""Consul's address and credentials are read as Consul's own tools read them."""

from __future__ import annotations

from pathlib import Path

import pytest

from service_kit.consul.variables import ConsulAgent, ConsulSettings, parse_consul_address
from service_kit.settings import BadSettings, load

NAMES = ("HTTP_ADDR", "HOST", "PORT", "HTTP_TOKEN", "HTTP_SSL", "HTTP_SSL_VERIFY", "CACERT", "CAPATH", "CLIENT_CERT")


@pytest.fixture(autouse=True)
def _no_consul_around(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*NAMES, "CLIENT_KEY", "TLS_SERVER_NAME"):
        monkeypatch.delenv(f"CONSUL_{name}", raising=False)


@pytest.mark.parametrize(
    ("text", "url", "socket"),
    [
        ("127.0.0.1:8500", "http://127.0.0.1:8500", None),
        ("consul.example", "http://consul.example:8500", None),
        ("http://consul.example", "http://consul.example:8500", None),
        ("http://consul.example:80/", "http://consul.example:80", None),
        ("https://consul.example:8501", "https://consul.example:8501", None),
        ("[::1]:8500", "http://[::1]:8500", None),
        ("https://[::1]", "https://[::1]:8500", None),
        ("unix:///run/consul.sock", "http://localhost:80", "/run/consul.sock"),
        ("unix:/run/consul.sock", "http://localhost:80", "/run/consul.sock"),
    ],
)
def test_reads_every_form_of_address(text: str, url: str, socket: str | None) -> None:
    """Host and port, URL and Unix socket, the port being 8500 where none is given."""
    assert parse_consul_address(text, tls=False) == (url, socket)


@pytest.mark.parametrize("text", ["consul.example:8500", "http://consul.example:8500"])
def test_asking_for_tls_encrypts_plain_addresses_too(text: str) -> None:
    """CONSUL_HTTP_SSL wins over a plain scheme, so that an address cannot switch TLS off."""
    assert parse_consul_address(text, tls=True)[0] == "https://consul.example:8500"


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":8500",
        "ftp://a:1",
        "a:b",
        "a:70000",
        "http://",
        "unix:relative",
        "http://user@a:1",
        "http://:secret@a:1",
        "@a:1",
        "a:1/path",
        "a b:1",
    ],
)
def test_refuses_what_is_no_address(text: str) -> None:
    """A wrong address is an error that says what is allowed."""
    with pytest.raises(ValueError, match=r"allowed|absolute path"):
        parse_consul_address(text, tls=False)


def test_no_variable_means_no_consul() -> None:
    """Consul is off unless an address or a host is set; a port alone is none."""
    assert load(ConsulSettings).consul is None


def test_address_wins_over_host_and_port(monkeypatch: pytest.MonkeyPatch) -> None:
    """CONSUL_HTTP_ADDR is the name Consul's own tools know."""
    monkeypatch.setenv("CONSUL_HOST", "second.example")
    monkeypatch.setenv("CONSUL_PORT", "8600")
    assert load(ConsulSettings).consul == ConsulAgent("http://second.example:8600")
    monkeypatch.setenv("CONSUL_HTTP_ADDR", "first.example:8700")
    assert load(ConsulSettings).consul == ConsulAgent("http://first.example:8700")


def test_reads_token_and_tls(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Credentials reach the client, and the token stays out of every text form of the agent."""
    ca = tmp_path / "ca.pem"
    ca.touch()
    monkeypatch.setenv("CONSUL_HTTP_ADDR", "consul.example:8501")
    monkeypatch.setenv("CONSUL_HTTP_SSL", "true")
    monkeypatch.setenv("CONSUL_HTTP_SSL_VERIFY", "false")
    monkeypatch.setenv("CONSUL_HTTP_TOKEN", "hush")
    monkeypatch.setenv("CONSUL_CACERT", str(ca))
    monkeypatch.setenv("CONSUL_TLS_SERVER_NAME", "server.dc1.consul")
    agent = load(ConsulSettings).consul
    assert agent == ConsulAgent(
        "https://consul.example:8501", token="hush", verify=False, ca_file=ca, server_name="server.dc1.consul"
    )
    assert "hush" not in repr(agent)


def test_reports_every_bad_variable_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each problem names its variable."""
    monkeypatch.setenv("CONSUL_HTTP_ADDR", "ftp://nowhere")
    monkeypatch.setenv("CONSUL_HOST", "a/b")
    monkeypatch.setenv("CONSUL_PORT", "0")
    monkeypatch.setenv("CONSUL_CACERT", "/does/not/exist")
    with pytest.raises(BadSettings) as bad:
        load(ConsulSettings)
    assert [problem.split(":")[0] for problem in bad.value.problems] == [
        "CONSUL_CACERT",
        "CONSUL_HOST",
        "CONSUL_HTTP_ADDR",
        "CONSUL_PORT",
    ]
