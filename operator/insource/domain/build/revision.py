"""The ControllerRevision: a revision's rendered template, kept so that a newer operator restarts nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from insource.domain.build.in_house_template import RENDERER
from insource.domain.build.objects import manifest
from insource.domain.snapshot import Child, Manifest, ModelDeployment


def build_revision(
    deployment: ModelDeployment, *, name: str, labels: Mapping[str, str], template: Mapping[str, Any], order: int
) -> Manifest:
    """The object that stores a newly rendered template. Its data can never be changed, only the object replaced."""
    return manifest(
        "apps/v1",
        "ControllerRevision",
        name=name,
        namespace=deployment.namespace,
        labels=labels,
        owner=deployment,
        body={"revision": order, "data": {"renderer": RENDERER, "template": template}},
    )


def stored_template(child: Child | None) -> Mapping[str, Any] | None:
    """The template of an existing revision, to be applied as it is, whoever rendered it."""
    if child is None:
        return None
    template = child.data.get("template")
    return template if isinstance(template, Mapping) else None


def stored_request_timeout_s(template: Mapping[str, Any], beyond_s: int) -> int:
    """The longest request that pods of this template can finish while they are being stopped."""
    return int(template["spec"]["terminationGracePeriodSeconds"]) - beyond_s
