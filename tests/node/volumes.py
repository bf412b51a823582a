"""`python -m tests.node.volumes`: a folder of this machine for each claim of the default class.

It asks the API server as any client does, and what it has done is what it finds there: it may die at any time.

A `local` volume, not a `hostPath`: of these two only the former gets the group that a pod's `fsGroup` names.
"""

from __future__ import annotations

import json
import shutil
import ssl
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import yaml

from tests.node.files import CLASS, PROVISIONER
from tests.node.places import Places

EVERY_S = 0.5


def volume(places: Places, claim: dict[str, Any]) -> dict[str, Any]:
    """The volume of a claim: bound to it alone, on this node."""
    meta = claim["metadata"]
    name = f"pvc-{meta['uid']}"
    # A folder of this machine is one of each node that is on it.
    here = {"key": "kubernetes.io/hostname", "operator": "In", "values": [places.name, places.second.name]}
    reference = {"apiVersion": "v1", "kind": "PersistentVolumeClaim"}
    reference |= {field: meta[field] for field in ("name", "namespace", "uid")}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name, "annotations": {"pv.kubernetes.io/provisioned-by": PROVISIONER}},
        "spec": {
            "capacity": {"storage": claim["spec"]["resources"]["requests"]["storage"]},
            "accessModes": claim["spec"]["accessModes"],
            "persistentVolumeReclaimPolicy": "Delete",
            "storageClassName": CLASS,
            "claimRef": reference,
            "local": {"path": str(places.volumes / name)},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [here]}]}},
        },
    }


class Provisioner:
    """One pass makes what is missing and deletes what was released."""

    def __init__(self, places: Places) -> None:
        self._places = places
        configuration = yaml.safe_load(places.kubeconfig.read_text())
        self._token = configuration["users"][0]["user"]["token"]
        self._trust = ssl.create_default_context(
            cafile=configuration["clusters"][0]["cluster"]["certificate-authority"]
        )

    def step(self) -> None:
        """Raises OSError while the API server is away."""
        volumes = {each["metadata"]["name"]: each for each in self._ask("GET", "persistentvolumes")["items"]}
        for claim in self._ask("GET", "persistentvolumeclaims")["items"]:
            wanted = volume(self._places, claim) if claim["spec"].get("storageClassName") == CLASS else None
            if wanted is None or claim["status"].get("phase") != "Pending" or wanted["metadata"]["name"] in volumes:
                continue
            Path(wanted["spec"]["local"]["path"]).mkdir(parents=True, exist_ok=True)
            self._ask("POST", "persistentvolumes", wanted)
        for name, each in volumes.items():
            if each["spec"].get("storageClassName") == CLASS and each["status"].get("phase") == "Released":
                shutil.rmtree(each["spec"]["local"]["path"], ignore_errors=True)
                self._ask("DELETE", f"persistentvolumes/{name}")

    def _ask(self, method: str, path: str, body: Any = None) -> Any:
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self._places.url}/api/v1/{path}", data, headers, method=method)
        with urllib.request.urlopen(request, timeout=10, context=self._trust) as answer:
            return json.load(answer)


def main() -> None:
    provisioner = Provisioner(Places())
    said = ""
    while True:
        try:
            provisioner.step()
            said = ""
        except urllib.error.HTTPError as error:
            # Another pass sees what is true then; a conflict or a deleted claim is no more than that.
            print(f"insource-node volumes: {error.url}: {error}", file=sys.stderr, flush=True)
        except OSError as error:
            if str(error) != said:
                print(f"insource-node volumes: {error}", file=sys.stderr, flush=True)
            said = str(error)
        time.sleep(EVERY_S)


if __name__ == "__main__":
    main()
