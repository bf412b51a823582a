"""What the chart renders, in whole, for values that people have; and what holds for all of them."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from syrupy.assertion import SnapshotAssertion

from insource import __version__
from insource.api.crdgen import definition
from insource.api.kinds import KINDS
from insource.api.meta import LEDGER_AUDIENCE, SYSTEM_NAMESPACE
from tests.charts.helm import CHART, ROOT, VALUES, Object, containers, find, helm, objects, rendered, template

SETS = sorted(path.stem for path in VALUES.glob("*.yaml"))
WITH_PODS = ("Deployment", "Pod")


def flags(values: str) -> tuple[str | Path, ...]:
    return ("--values", VALUES / f"{values}.yaml") if values else ()


@pytest.mark.parametrize("values", ["", *SETS])
def test_golden(values: str, tmp_path: Path, snapshot: SnapshotAssertion) -> None:
    assert rendered(tmp_path, *flags(values)) == snapshot


@pytest.mark.parametrize("values", ["", *SETS])
def test_helm_lints_it_strictly(values: str, tmp_path: Path) -> None:
    done = helm("lint", "--strict", CHART, "--namespace", SYSTEM_NAMESPACE, *flags(values), home=tmp_path)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("values", ["", *SETS])
def test_every_pod_is_restricted_and_has_no_right_that_it_does_not_use(values: str, tmp_path: Path) -> None:
    found = [each for each in objects(rendered(tmp_path, *flags(values))) if each["kind"] in WITH_PODS]
    assert [each["metadata"]["name"] for each in found] == [
        *("insource-gateway", "insource-ledger", "insource-operator", "insource-test")
    ]
    for each in found:
        spec = each["spec"] if each["kind"] == "Pod" else each["spec"]["template"]["spec"]
        assert spec["securityContext"]["runAsNonRoot"]
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys()
        assert not [volume for volume in spec.get("volumes", ()) if "hostPath" in volume]
        for container in containers(each):
            security = container["securityContext"]
            assert security["readOnlyRootFilesystem"]
            assert not security["allowPrivilegeEscalation"]
            assert security["capabilities"] == {"drop": ["ALL"]}
            assert "memory" in container["resources"]["limits"]


def test_envoy_has_no_token_of_the_api_server(tmp_path: Path) -> None:
    gateway = find(objects(rendered(tmp_path)), "Deployment", "insource-gateway")
    assert gateway["spec"]["template"]["spec"]["automountServiceAccountToken"] is False
    agent, envoy = containers(gateway)
    mounted = [{mount["name"] for mount in each["volumeMounts"]} for each in (agent, envoy)]
    assert {"api-token", "ledger-token", "gateway-master"} <= mounted[0]
    assert mounted[1] == {"run-dir", "state-dir", "tmp"}


def test_the_gateway_speaks_to_the_ledger_with_a_token_made_for_it(tmp_path: Path) -> None:
    gateway = find(objects(rendered(tmp_path)), "Deployment", "insource-gateway")
    volumes = {each["name"]: each for each in gateway["spec"]["template"]["spec"]["volumes"]}
    (source,) = volumes["ledger-token"]["projected"]["sources"]
    assert source["serviceAccountToken"]["audience"] == LEDGER_AUDIENCE


@pytest.mark.parametrize("values", ["", *SETS])
def test_the_agent_outlives_envoy_and_the_kubelet_waits_for_both(values: str, tmp_path: Path) -> None:
    gateway = find(objects(rendered(tmp_path, *flags(values))), "Deployment", "insource-gateway")
    spec = gateway["spec"]["template"]["spec"]
    (agent,), (envoy,) = spec["initContainers"], spec["containers"]
    assert agent["restartPolicy"] == "Always", "else it ends with Envoy, not after it"
    limit = seconds(envoy["lifecycle"]["preStop"]["exec"]["command"], "--limit")
    farewell = seconds(agent["args"], "--outlive-envoy")
    assert farewell > 0, "Envoy's last lines are in an emptyDir"
    assert spec["terminationGracePeriodSeconds"] > limit + farewell


def seconds(arguments: list[str], flag: str) -> float:
    (value,) = [each.partition("=")[2] for each in arguments if each.startswith(f"{flag}=")]
    return float(value)


def test_a_selector_never_changes_with_version_release_or_values(tmp_path: Path) -> None:
    # It could not: an upgrade that tries is refused by the API server.
    def selectors(*more: str | Path) -> dict[str, Object]:
        done = helm("template", *more, CHART, "--namespace", SYSTEM_NAMESPACE, home=tmp_path)
        found = [each for each in objects(done.stdout) if each["kind"] == "Deployment"]
        return {each["metadata"]["name"]: each["spec"]["selector"] for each in found}

    assert selectors("a") == selectors("b", *flags("placed")) == selectors("c", *flags("public"))


def test_the_crds_are_those_of_the_models_and_outlive_the_release(tmp_path: Path) -> None:
    done = template(tmp_path)
    crds = [part for part in done.stdout.split("---\n") if "kind: CustomResourceDefinition" in part]
    assert len(crds) == len(KINDS)
    for part in crds:
        crd = yaml.safe_load(part)
        assert crd["metadata"].pop("annotations") == {"helm.sh/resource-policy": "keep"}
        (kind,) = [each for each in KINDS if each.crd_name == crd["metadata"]["name"]]
        assert crd == definition(kind)
        of_the_file = (ROOT / "crds" / f"{kind.crd_name}.yaml").read_text().partition("\nspec:\n")[2]
        assert part.partition("\nspec:\n")[2].strip() == of_the_file.strip()


@pytest.mark.parametrize("values", ["", *SETS])
def test_what_nobody_can_make_again_outlives_the_release(values: str, tmp_path: Path) -> None:
    for each in objects(template(tmp_path, *flags(values)).stdout):
        if each["kind"] in ("CustomResourceDefinition", "PersistentVolumeClaim", "Secret"):
            assert each["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep", each["metadata"]["name"]


def test_it_needs_no_other_operator(tmp_path: Path) -> None:
    groups = {each["apiVersion"].rpartition("/")[0] for each in objects(template(tmp_path).stdout)}
    assert groups == {*("", "apps", "policy", "networking.k8s.io", "rbac.authorization.k8s.io", "apiextensions.k8s.io")}


def test_every_image_is_of_the_mirror(tmp_path: Path) -> None:
    found = [each for each in objects(rendered(tmp_path, *flags("mirror"))) if each["kind"] in WITH_PODS]
    prefix = "registry.example.com/mirror/insource/"
    for each in found:
        spec = each["spec"] if each["kind"] == "Pod" else each["spec"]["template"]["spec"]
        assert spec["imagePullSecrets"] == [{"name": "mirror"}]
        assert all(container["image"].startswith(prefix) for container in containers(each))
    arguments = containers(find(found, "Deployment", "insource-operator"))[0]["args"]
    assert f"--image={prefix}insource:0.1.0-7" in arguments
    assert "--image-registry=registry.example.com/mirror" in arguments
    assert "--image-pull-secret=mirror" in arguments


def test_a_wildcard_is_a_host(tmp_path: Path) -> None:
    host, public = "*.example.com", "https://models.example.com"
    values = f"gateway.ingress.enabled=true,gateway.ingress.host={host},gateway.ingress.tlsSecretName=cert"
    found = objects(rendered(tmp_path, "--set", values, "--set", f"gateway.publicURL={public}"))
    ingress = find(found, "Ingress", "insource-gateway")["spec"]
    assert [each["host"] for each in ingress["rules"]] == ingress["tls"][0]["hosts"] == [host]


def test_names_that_look_like_numbers_are_names(tmp_path: Path) -> None:
    names = ("operator.priorityClassName", "gateway.tls.secretName", "gateway.masterSecret.existing")
    names += ("ledger.persistence.storageClass", "gateway.ingress.className", "gateway.ingress.tlsSecretName")
    ingress = "gateway.ingress.enabled=true,gateway.ingress.host=1.2"
    done = template(tmp_path, "--set", ingress, *(word for name in names for word in ("--set-string", f"{name}=12")))
    assert done.returncode == 0, done.stderr
    found = objects(done.stdout)
    operator = find(found, "Deployment", "insource-operator")["spec"]["template"]["spec"]
    gateway = find(found, "Deployment", "insource-gateway")["spec"]["template"]["spec"]
    route = find(found, "Ingress", "insource-gateway")["spec"]
    secrets = {each["secret"]["secretName"] for each in gateway["volumes"] if "secret" in each}
    claim = find(found, "PersistentVolumeClaim", "insource-ledger")["spec"]
    assert operator["priorityClassName"] == claim["storageClassName"] == route["ingressClassName"] == "12"
    assert secrets == {"12"}
    assert (route["tls"][0]["secretName"], route["rules"][0]["host"]) == ("12", "1.2")


def test_a_chart_around_it_may_have_global_values_of_its_own(tmp_path: Path) -> None:
    """Helm gives them to every part, and its schema must not refuse what is not about it."""
    whole = tmp_path / "whole"
    (whole / "charts").mkdir(parents=True)
    (whole / "charts" / "insource").symlink_to(CHART)
    (whole / "Chart.yaml").write_text("apiVersion: v2\nname: whole\nversion: 1.0.0\n")
    (whole / "values.yaml").write_text("global: {domain: example.com, imageRegistry: registry.example.com}\n")
    done = helm("template", "whole", whole, "--namespace", SYSTEM_NAMESPACE, home=tmp_path)
    assert done.returncode == 0, done.stderr
    operator = containers(find(objects(done.stdout), "Deployment", "insource-operator"))[0]
    assert operator["image"].startswith("registry.example.com/insource/insource:")


def test_the_chart_is_of_this_version() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["version"] == chart["appVersion"] == __version__


def test_no_two_objects_have_the_same_name(tmp_path: Path) -> None:
    found = [(each["kind"], each["metadata"]["name"]) for each in objects(template(tmp_path).stdout)]
    assert len(found) == len(set(found))
