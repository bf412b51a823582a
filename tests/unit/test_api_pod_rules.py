"""What `inHouse.pod` may not say is told with the field's path and what to do; all that it may is no problem."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from insource.api.accelerator_class import AcceleratorClassSpec
from insource.api.kinds import Misfit, parse_or_misfit
from insource.api.model_deployment import ModelDeploymentSpec
from insource.api.pod import RESERVED_ENV, RESERVED_VOLUMES
from insource.domain.build.in_house_template import render_template
from insource.domain.references import References, resolve
from tests.pod_settings import EVERYTHING
from tests.unit.domain_world import World, spec

HERE = "spec.backends[0].inHouse.pod"
SECRET_KEY = {"name": "s", "key": "k"}
SCRATCH = {"name": "scratch", "emptyDir": {}}


def problem(pod: dict[str, Any]) -> str:
    """What is wrong with a ModelDeployment whose backend has this; empty if nothing is."""
    wanted = spec()
    wanted["backends"] = copy.deepcopy(wanted["backends"])
    wanted["backends"][0]["inHouse"]["pod"] = pod
    obj = {"kind": "ModelDeployment", "metadata": {"name": "a", "namespace": "b", "uid": "u"}, "spec": wanted}
    parsed = parse_or_misfit(obj, ModelDeploymentSpec)
    return parsed.problem if isinstance(parsed, Misfit) else ""


def test_everything_at_once_is_no_problem() -> None:
    assert problem(EVERYTHING) == ""


@pytest.mark.parametrize("path", ["/data", "/dev/shm", "/etc/server", "/tmpfiles", "/var/log"])
def test_paths_that_are_free(path: str) -> None:
    assert problem({"volumes": [SCRATCH], "server": {"volumeMounts": [{"name": "scratch", "mountPath": path}]}}) == ""


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "//",
        "/tmp",
        "//tmp",
        "/tmp/x",
        "/x/../tmp",
        "//run/secrets",
        "/var",
        "/var/cache/insource/a",
        "/proc",
        "/dev",
        "/dev/null",
        "/run",
    ],
)
def test_paths_that_are_ours_or_the_systems(path: str) -> None:
    told = problem({"volumes": [SCRATCH], "server": {"volumeMounts": [{"name": "scratch", "mountPath": path}]}})
    assert told.startswith(f'{HERE}.server.volumeMounts[0]: "{path}" cannot be mounted over')


@pytest.mark.parametrize(
    ("pod", "told"),
    [
        ({"labels": {"insource.dev/class": "x"}}, f'{HERE}.labels: "insource.dev/class" is ours: take another name'),
        ({"labels": {"app.kubernetes.io/managed-by": "x"}}, f'{HERE}.labels: "app.kubernetes.io/managed-by" is ours'),
        ({"annotations": {"insource.dev/count": "9"}}, f'{HERE}.annotations: "insource.dev/count" is ours'),
        ({"volumes": [{"name": "wal", "emptyDir": {}}]}, f'{HERE}.volumes[0].name: "wal" is ours'),
        ({"volumes": [{"name": "insource-x", "emptyDir": {}}]}, f'{HERE}.volumes[0].name: "insource-x" is ours'),
        ({"volumes": [SCRATCH, SCRATCH]}, f'{HERE}.volumes: two volumes have the name "scratch"'),
        ({"volumes": [{"name": "a"}]}, f"{HERE}.volumes[0]: set exactly one of configMap, secret"),
        (
            {"volumes": [{"name": "a", "emptyDir": {}, "configMap": {"name": "b"}}]},
            f"{HERE}.volumes[0]: set exactly one of configMap, secret",
        ),
        ({"server": {"env": [{"name": "PORT", "value": "1"}]}}, f'{HERE}.server.env[0].name: "PORT" is told'),
        ({"server": {"env": [{"name": "INSOURCE_X"}]}}, f'{HERE}.server.env[0].name: "INSOURCE_X" is told'),
        ({"server": {"env": [{"name": "A"}, {"name": "A"}]}}, f'{HERE}.server.env: "A" is there twice'),
        (
            {
                "server": {
                    "env": [{"name": "A", "value": "x", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]
                }
            },
            f"{HERE}.server.env[0]: set either value or valueFrom",
        ),
        ({"server": {"env": [{"name": "A", "valueFrom": {}}]}}, f"{HERE}.server.env[0].valueFrom: set exactly one"),
        ({"server": {"envFrom": [{}]}}, f"{HERE}.server.envFrom[0]: set exactly one of configMapRef, secretRef"),
        (
            {"server": {"volumeMounts": [{"name": "no", "mountPath": "/data"}]}},
            f'{HERE}.server.volumeMounts[0].name: there is no volume "no" in pod.volumes: add it, or name another',
        ),
        (
            {
                "volumes": [SCRATCH],
                "server": {"volumeMounts": [{"name": "scratch", "mountPath": p} for p in ("/data", "//data/")]},
            },
            f'{HERE}.server.volumeMounts: two are at "/data"',
        ),
        (
            {
                "volumes": [SCRATCH],
                "server": {"volumeMounts": [{"name": "scratch", "mountPath": "/data", "subPath": "../x"}]},
            },
            f"{HERE}.server.volumeMounts[0]:",
        ),
    ],
)
def test_what_may_not_be_said(pod: dict[str, Any], told: str) -> None:
    assert problem(pod).startswith(told)


def test_all_that_we_render_is_reserved() -> None:
    snapshot = World().snapshot()
    resolved = resolve(snapshot)
    assert isinstance(resolved, References)
    template = render_template(
        snapshot.deployment,
        resolved.primary,  # type: ignore[arg-type]
        snapshot.settings,
        revision="r",
        request_timeout_s=1,
    )
    (server,) = template["spec"]["initContainers"]
    of_runtime = {item.name for item in resolved.primary.runtime.spec.env}  # type: ignore[union-attr]
    assert {item["name"] for item in server["env"]} - of_runtime <= RESERVED_ENV
    volumes = {item["name"] for item in template["spec"]["volumes"]}
    assert {name for name in volumes if not name.startswith("insource-")} <= RESERVED_VOLUMES


def test_a_class_is_either_a_resource_or_a_claim() -> None:
    both = {"resourceName": "a.example/gpu", "resourceClaimTemplate": "one", "pricePerHour": "1"}
    obj = {"kind": "AcceleratorClass", "metadata": {"name": "a"}, "spec": both}
    parsed = parse_or_misfit(obj, AcceleratorClassSpec)
    assert isinstance(parsed, Misfit)
    assert parsed.problem.startswith("spec.resourceClaimTemplate: set one of")
