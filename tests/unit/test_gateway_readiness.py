"""When Envoy is told that it has everything: not before it has, and not anew when only the agent is new."""

from collections.abc import Iterable
from typing import Any

from envoy.service.discovery.v3 import discovery_pb2

from insource.gateway.ads import Configuration
from insource.gateway.application import Applications
from insource.gateway.render.names import CLUSTER, READINESS
from insource.gateway.render.resources import render_deployment, render_readiness
from tests.gateway import gateway_examples as examples


def configuration() -> Configuration:
    applications = Applications(lambda _: None)
    resources = render_deployment(examples.IN_HOUSE, "t", "/h")
    found = Configuration(applications)
    found.put(resources)
    applications.desire(examples.IN_HOUSE, resources)
    return found


def first_answers(config: Configuration, held: dict[str, str]) -> tuple[set[str], set[str]]:
    """Names of the clusters that a new stream is sent, and told to drop, when Envoy holds these."""
    connection = config.open()
    connection.stream.receive(discovery_pb2.DeltaDiscoveryRequest(type_url=CLUSTER, initial_resource_versions=held))
    answers: Iterable[Any] = connection.stream.responses()
    sent = {each.name for answer in answers for each in answer.resources}
    return sent, {name for answer in answers for name in answer.removed_resources}


async def test_a_new_envoy_is_not_told_before_it_has_everything() -> None:
    config = configuration()
    config.put([render_readiness()])  # it was true of the one before
    assert config.announced
    assert READINESS not in first_answers(config, {})[0]
    assert not config.announced


async def test_a_new_agent_takes_nothing_back() -> None:
    config = configuration()
    sent, gone = first_answers(config, {READINESS: render_readiness().version})
    assert READINESS not in sent | gone
    assert config.announced
