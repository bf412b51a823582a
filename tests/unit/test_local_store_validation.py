"""CRD schemas: pruning, defaults, structural checks, CEL. Messages are those of a real API server."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.local_widgets import CRDS, WIDGETS, refusal, widget, widget_crd, widget_store


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"color": "pink"}, 'spec.color: Unsupported value: "pink": supported values: "red", "green", "blue"'),
        (
            {"replicas": "x"},
            'spec.replicas: Invalid value: "string": spec.replicas in body must be of type integer: "string"',
        ),
        ({"replicas": -1}, "spec.replicas in body should be greater than or equal to 0"),
        ({"note": "x" * 30}, "spec.note: Too long: may not be more than 20 bytes"),
        ({"tags": ["a", "a"]}, 'spec.tags[1]: Duplicate value: "a"'),
        ({"ports": [{"port": 1}, {"port": 1}]}, 'spec.ports[1]: Duplicate value: {"port":1,"protocol":"TCP"}'),
        ({"ports": [{"label": "x"}]}, "spec.ports[0].port: Required value"),
        ({"color": None}, "spec.color: Required value"),
        ({"opts": {"a": 1}}, 'spec.opts.a in body must be of type string: "integer"'),
    ],
)
def test_a_broken_object_is_refused(spec: dict[str, Any], message: str) -> None:
    error = refusal(widget_store().create, WIDGETS, widget("a", **spec), "ns")
    assert error.code == 422
    assert message in error.message


def test_a_cel_rule_speaks() -> None:
    error = refusal(widget_store().create, WIDGETS, widget("a", replicas=9), "ns")
    assert error.message == (
        'Widget.demo.insource.dev "a" is invalid: spec.replicas: Invalid value: replicas must not exceed maxReplicas'
    )


def test_a_transition_rule_judges_changes_only() -> None:
    store = widget_store()
    store.create(WIDGETS, widget("a"), "ns")
    store.patch(WIDGETS, "ns", "a", {"spec": {"note": "x"}}, "merge")
    error = refusal(store.patch, WIDGETS, "ns", "a", {"spec": {"note": None}}, "merge")
    assert "note cannot be removed once set" in error.message


def test_a_rule_that_cannot_be_run_refuses_the_crd() -> None:
    store = widget_store()
    crd = widget_crd()
    crd["metadata"]["name"] = "gadgets.demo.insource.dev"
    crd["spec"]["names"] = {"kind": "Gadget", "plural": "gadgets"}
    schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    schema["x-kubernetes-validations"] = [{"rule": "quantity(self.spec.color).isGreaterThan(quantity('1'))"}]
    assert refusal(store.create, CRDS, crd).code == 501
    assert store.find(CRDS, None, "gadgets.demo.insource.dev") is None


def test_unknown_fields() -> None:
    store = widget_store()
    obj = store.create(WIDGETS, widget("a", bogus=1, ports=[{"port": 1, "zz": 2}]), "ns")
    assert "bogus" not in obj["spec"]
    assert store.warnings == ['unknown field "spec.bogus"', 'unknown field "spec.ports[0].zz"']
    error = refusal(store.create, WIDGETS, widget("b", bogus=1), "ns", field_validation="Strict")
    assert error.code == 400
    assert 'strict decoding error: unknown field "spec.bogus"' in error.message


def test_defaults_reach_into_lists_and_replace_nulls() -> None:
    obj = widget_store().create(WIDGETS, widget("a", replicas=None, note=None, ports=[{"port": 1}]), "ns")
    assert obj["spec"]["replicas"] == 1
    assert "note" not in obj["spec"]
    assert obj["spec"]["ports"] == [{"port": 1, "protocol": "TCP"}]


def test_what_has_not_changed_is_not_judged_again() -> None:
    store = widget_store()
    store.create(WIDGETS, widget("a", replicas=4), "ns")
    crd = store.get(CRDS, None, "widgets.demo.insource.dev")
    stricter = widget_crd()
    stricter["metadata"] = crd["metadata"]
    properties = stricter["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]
    properties["spec"]["properties"]["replicas"]["maximum"] = 3
    store.update(CRDS, None, "widgets.demo.insource.dev", stricter)
    store.patch(WIDGETS, "ns", "a", {"spec": {"note": "still here"}}, "merge")
    assert refusal(store.create, WIDGETS, widget("b", replicas=4), "ns").code == 422
