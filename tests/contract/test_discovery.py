"""The `Discovery` port: the fake and what finds real instances keep the same promises."""

from __future__ import annotations

import itertools

import pytest

from sidecar.session_client.consul_discovery import Rotation
from sidecar.session_client.discovery import FixedAddress
from sidecar.testing import FakeDiscovery


def rotation(urls: list[str]) -> Rotation:
    rotation = Rotation()
    rotation.replace(urls)
    return rotation


@pytest.fixture(params=[FakeDiscovery, rotation])
def several(request: pytest.FixtureRequest):
    return request.param(["http://one.test", "http://two.test"])


def test_instances_are_given_in_turn(several):
    """Instances are picked in turn, evenly."""
    picked = [several.pick() for _ in range(6)]
    assert sorted(picked) == ["http://one.test"] * 3 + ["http://two.test"] * 3
    assert all(one != two for one, two in itertools.pairwise(picked))


@pytest.mark.parametrize("discovery", [FakeDiscovery(["http://one.test"]), FixedAddress("http://one.test")])
def test_the_only_instance_is_given_whatever_is_said_of_it(discovery):
    """The only instance is picked after every report about it."""
    for ok in (True, False):
        discovery.report("http://one.test", ok=ok)
        assert discovery.pick() == "http://one.test"


@pytest.mark.parametrize("discovery", [FakeDiscovery(), Rotation()])
def test_no_instance_is_none(discovery):
    """Without an instance the pick is None."""
    assert discovery.pick() is None
    discovery.report("http://gone.test", ok=False)
    assert discovery.pick() is None
