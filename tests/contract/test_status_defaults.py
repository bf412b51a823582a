"""A default of `.status`, which our kinds have: it is nobody's field, and a writer of the object does not set it."""

from __future__ import annotations

from typing import Any

from tests.cluster.kwok import apply_crds
from tests.contract.conftest import CRD_FOLDER
from tests.servers import APPLY, MERGE, ApiServer

PATH = "/apis/insource.dev/v1alpha1/namespaces/{}/vendors"
SPEC = {"endpoint": "https://v.example/v1", "credentials": {"secretRef": {"name": "k", "key": "k"}}}


def vendor(**more: Any) -> dict[str, Any]:
    return {"apiVersion": "insource.dev/v1alpha1", "kind": "Vendor", "metadata": {"name": "v"}, "spec": SPEC, **more}


def owned(obj: dict[str, Any]) -> list[set[str]]:
    return [set(each["fieldsV1"]) for each in obj["metadata"]["managedFields"]]


def test_it_is_there_from_the_first_moment_and_belongs_to_nobody(api: ApiServer) -> None:
    apply_crds(api, CRD_FOLDER)
    with api.namespace("born") as namespace:
        path = PATH.format(namespace)
        created = api.ok("POST", path, vendor(status={"observedGeneration": 7}))
        assert created["status"] == {"observedGeneration": -1}
        assert owned(created) == [{"f:spec"}]
        merged = api.ok("PATCH", f"{path}/v", {"metadata": {"labels": {"a": "b"}}}, MERGE)
        assert merged["status"] == {"observedGeneration": -1}
        assert {"f:status"} not in owned(merged)


def test_an_apply_does_not_own_it(api: ApiServer) -> None:
    apply_crds(api, CRD_FOLDER)
    with api.namespace("applied") as namespace:
        applied = api.ok("PATCH", f"{PATH.format(namespace)}/v?fieldManager=git", vendor(), APPLY)
        assert applied["status"] == {"observedGeneration": -1}
        assert owned(applied) == [{"f:spec"}]
        assert owned(api.ok("GET", f"{PATH.format(namespace)}/v")) == [{"f:spec"}]
