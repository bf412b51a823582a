"""The ReplicaSet of one in-house revision on one class.

Not a Deployment: a revision's template never changes, so there is nothing to roll; docs/decisions/0015 has the figures.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from insource.api import meta
from insource.domain.build.objects import manifest
from insource.domain.snapshot import Manifest, ModelDeployment


def build_in_house_replica_set(
    deployment: ModelDeployment,
    *,
    name: str,
    labels: Mapping[str, str],
    template: Mapping[str, Any],
    replicas: int,
) -> Manifest:
    """The template unchanged, with the replicas that are wanted now."""
    selector = {key: labels[key] for key in (meta.LABEL_DEPLOYMENT, meta.LABEL_BACKEND, meta.LABEL_REVISION)}
    return manifest(
        "apps/v1",
        "ReplicaSet",
        name=name,
        namespace=deployment.namespace,
        labels=labels,
        owner=deployment,
        body={
            "spec": {
                "replicas": replicas,
                "selector": {"matchLabels": selector},
                "template": template,
            }
        },
    )
