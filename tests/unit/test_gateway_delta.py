"""One delta stream's conversation, without gRPC."""

from envoy.service.discovery.v3 import discovery_pb2
from google.rpc import status_pb2

from insource.gateway.application import KEYS_REFUSED, Applications
from insource.gateway.delta import ORDER, DeltaStream
from insource.gateway.render import names
from insource.gateway.render.resources import Resource, render_deployment, render_key_list
from tests.gateway import gateway_examples as examples


class Talk:
    """A fake Envoy on one stream."""

    def __init__(self, *views: object, held: dict[str, dict[str, str]] | None = None) -> None:
        self.store: dict[str, dict[str, Resource]] = {kind: {} for kind in ORDER}
        self.settled: list[object] = []
        self.applications = Applications(self.settled.append)
        for view in views or examples.ALL:
            resources = render_deployment(view, "t", "/h")  # type: ignore[arg-type]
            self.applications.desire(view, resources)  # type: ignore[arg-type]
            for each in resources:
                self.store[each.type_url][each.name] = each
        keys = render_key_list([])
        self.store[keys.type_url][keys.name] = keys
        self.stream = DeltaStream(self.store, self.applications)
        self.held = held or {}

    def ask(self, kind: str, *subscribe: str) -> list[discovery_pb2.DeltaDiscoveryResponse]:
        self.stream.receive(
            discovery_pb2.DeltaDiscoveryRequest(
                type_url=kind,
                resource_names_subscribe=subscribe,
                initial_resource_versions=self.held.get(kind, {}),
            )
        )
        return self.stream.responses()

    def answer(self, response: discovery_pb2.DeltaDiscoveryResponse, refusal: str = "") -> list[object]:
        request = discovery_pb2.DeltaDiscoveryRequest(type_url=response.type_url, response_nonce=response.nonce)
        if refusal:
            request.error_detail.CopyFrom(status_pb2.Status(message=refusal))
        self.stream.receive(request)
        return self.stream.responses()

    def load(self) -> None:
        """Everything asked for and accepted."""
        for kind in ORDER:
            wanted = () if kind in (names.CLUSTER, names.SCOPE) else tuple(self.store[kind])
            for response in self.ask(kind, *wanted):
                self.answer(response)


def versions(talk: Talk) -> dict[str, dict[str, str]]:
    return {kind: {name: each.version for name, each in talk.store[kind].items()} for kind in ORDER}


def test_applied_only_when_all_four_are_acknowledged() -> None:
    talk = Talk(examples.IN_HOUSE)
    name = str(examples.IN_HOUSE.key)
    for kind in ORDER[:4]:
        assert talk.applications.applied()[name].version == 0
        assert talk.settled == []
        (response,) = talk.ask(kind, *(talk.store[kind] if kind not in (names.CLUSTER, names.SCOPE) else ()))
        talk.answer(response)
    assert talk.applications.applied()[name].version == 3
    assert talk.applications.pending() == 0
    assert talk.settled == [examples.IN_HOUSE.key]  # whoever is held may try now, and not before


def test_a_reconnecting_envoy_that_has_it_all_is_sent_nothing() -> None:
    first = Talk()
    talk = Talk(held=versions(first))
    assert [talk.ask(kind) for kind in ORDER] == [[]] * len(ORDER)
    assert talk.applications.pending() == 0


def test_an_empty_wildcard_is_answered() -> None:
    talk = Talk()
    for kind in ORDER:
        talk.store[kind].clear()
    for kind in (names.CLUSTER, names.SCOPE):
        (response,) = talk.ask(kind)
        assert not response.resources


def test_an_unknown_name_is_answered_as_removed() -> None:
    (response,) = Talk().ask(names.ROUTES, "rc/no/such")
    assert list(response.removed_resources) == ["rc/no/such"]


def test_only_what_changed_is_sent() -> None:
    talk = Talk()
    talk.load()
    name = names.cluster_name(examples.IN_HOUSE.key)
    talk.store[names.ENDPOINTS][name] = render_deployment(examples.IN_HOUSE, "t", "/other")[1]
    talk.stream.mark(names.ENDPOINTS, name)
    talk.stream.mark(names.CLUSTER, name)
    (response,) = talk.stream.responses()
    assert [each.name for each in response.resources] == [name]
    assert talk.stream.responses() == []


def test_a_refused_batch_is_sent_one_by_one_and_the_bad_one_is_named() -> None:
    talk = Talk()
    (batch,) = talk.ask(names.CLUSTER)
    single = talk.answer(batch, "one of these is bad")
    assert [len(each.resources) for each in single] == [1, 1, 1]  # type: ignore[attr-defined]
    bad = single[0]
    talk.answer(bad, "this one")  # type: ignore[arg-type]
    messages = {name: each.message for name, each in talk.applications.applied().items()}
    assert sorted(messages.values()) == ["", "", "this one"]
    assert talk.stream.responses() == []


def test_a_refused_key_list_is_not_quoted() -> None:
    talk = Talk()
    (response,) = talk.ask(names.EXTENSION, names.KEY_FILTER)
    talk.answer(response, "Duplicated credential key: 'sk-1'")
    assert talk.applications.refusals_total == 1
    assert "sk-1" not in str(talk.applications.applied())
    assert "sk-1" not in KEYS_REFUSED


def test_a_cluster_is_removed_only_after_its_scope() -> None:
    talk = Talk()
    talk.load()
    key = examples.IN_HOUSE.key
    for kind, name in ((names.CLUSTER, names.cluster_name(key)), (names.SCOPE, names.scope_name(key))):
        del talk.store[kind][name]
        talk.stream.mark(kind, name)
    (scope,) = talk.stream.responses()
    assert (scope.type_url, list(scope.removed_resources)) == (names.SCOPE, [names.scope_name(key)])
    assert talk.stream.responses() == []
    (cluster,) = talk.answer(scope)
    assert list(cluster.removed_resources) == [names.cluster_name(key)]  # type: ignore[attr-defined]
