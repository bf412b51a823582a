"""From names in a spec to the objects they mean; what is missing or unfit is said by name, with what to do.

Knows nothing of manifests or traffic.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from insource.api.accelerator_class import AcceleratorClassSpec
from insource.api.catalog_model import CatalogModelSpec, Source
from insource.api.fields import duration_s
from insource.api.inference_runtime import InferenceRuntimeSpec
from insource.api.kinds import Misfit, Resource
from insource.api.model_deployment import Accelerator, Backend, InHouse
from insource.api.pod import PodSettings
from insource.domain.delivery import delivery_problem
from insource.domain.dialects import dialect_problem
from insource.domain.problem import (
    DIALECT_CANNOT_SERVE,
    MODALITY_NOT_SERVED,
    MODEL_TOO_LARGE,
    PATH_TAKEN,
    POD_CONFLICT,
    Problem,
)
from insource.domain.snapshot import Catalogue, DeploymentSnapshot, ModelDeployment, Vendor
from insource.wire.paths import is_plain
from insource.wire.vocabulary import Modality

NO_SETTINGS = PodSettings()
SERVED = frozenset(Modality)
"""Modalities that the adapters of this release speak and meter."""


@dataclass(frozen=True, slots=True)
class InHouseTarget:
    """An in-house backend with all it refers to."""

    backend: str
    model: Resource[CatalogModelSpec]
    source: Source
    runtime: Resource[InferenceRuntimeSpec]
    class_: Resource[AcceleratorClassSpec]
    count: int
    slots: int
    startup_timeout_s: int
    pod: PodSettings = NO_SETTINGS
    credentials_secret: str = ""
    """Secret for the download of the model; empty: none."""
    cache_claim: str = ""
    """Claim that keeps the download; empty: none."""


@dataclass(frozen=True, slots=True)
class VendorBackendTarget:
    """A vendor backend with its Vendor."""

    backend: str
    vendor: Vendor
    model: str


Target = InHouseTarget | VendorBackendTarget


@dataclass(frozen=True, slots=True)
class References:
    """Everything the traffic of a ModelDeployment needs."""

    primary: Target
    spill: VendorBackendTarget | None


def resolve(snapshot: DeploymentSnapshot) -> References | Problem:
    """The backends that are used, resolved; or the first problem, in the order of the spec.

    Every in-house backend is checked, though only the primary runs: a mistake shows when it is made.
    """
    spec = snapshot.deployment.spec
    if is_plain(snapshot.deployment.namespace, snapshot.deployment.name):
        return Problem(PATH_TAKEN, _path_taken(snapshot.deployment))
    if spec.modality not in SERVED:
        return Problem(MODALITY_NOT_SERVED, unserved(spec.modality))
    targets: dict[str, Target] = {}
    for backend in spec.backends:
        target = _target(backend, snapshot)
        if isinstance(target, Problem):
            return target
        targets[backend.name] = target
    primary = targets[spec.traffic.primary]
    if spec.traffic.spill is None:
        return References(primary=primary, spill=None)
    spill = targets[spec.traffic.spill.backend]
    assert isinstance(spill, VendorBackendTarget)
    return References(primary=primary, spill=spill)


def _path_taken(deployment: ModelDeployment) -> str:
    path = f"/{deployment.namespace}/{deployment.name}/"
    return (
        f"{path} is a path of the gateway's plain /v1 and cannot lead to a ModelDeployment; give it another name, or "
        "create it in another namespace"
    )


def unserved(modality: Modality) -> str:
    """Why a ModelDeployment of this modality gets neither pods nor traffic, and what to do."""
    return (
        f"modality {modality} is not served by this release, only {', '.join(sorted(SERVED))}: its adapters can "
        "neither speak nor meter it, so nothing is started or routed; leave these clients at the vendor, and delete "
        f"this ModelDeployment or keep it for the release that serves it (`insource catalog --modality {modality}` "
        "lists the models)"
    )


def allows(vendor: Vendor, deployment: ModelDeployment | Misfit) -> bool:
    """Whether the owner of the vendor's key lets this ModelDeployment use it."""
    allowed = vendor.spec.allowed_deployments
    if allowed is None or deployment.name in allowed.names:
        return True
    wanted = allowed.match_labels
    return bool(wanted) and all(deployment.labels.get(key) == value for key, value in wanted.items())


def asked_of(target: InHouseTarget) -> str:
    """What a replica asks the scheduler for beside CPU and memory, in words; empty if it is nothing."""
    class_ = target.class_.spec
    claim = f"of ResourceClaimTemplate {class_.resource_claim_template}" if class_.resource_claim_template else ""
    queue = f", queue {class_.queue_name}" if class_.queue_name else ""
    what = class_.resource_name or claim
    return f"{target.count} {what} a replica{queue}" if what else queue.removeprefix(", ")


def _target(backend: Backend, snapshot: DeploymentSnapshot) -> Target | Problem:
    if backend.in_house is not None:
        return in_house_target(backend.name, backend.in_house, snapshot.deployment, snapshot.catalogue)
    assert backend.vendor is not None
    vendor = snapshot.vendors.get(backend.vendor.name)
    where = f'backend "{backend.name}"'
    if vendor is None and backend.vendor.name in snapshot.unfit_vendors:
        return _unfit(where, "Vendor", backend.vendor.name, snapshot.unfit_vendors)
    if vendor is None:
        return Problem(
            "VendorNotFound",
            f'{where}: Vendor "{backend.vendor.name}" not found in namespace "{snapshot.deployment.namespace}"; '
            + _instead(snapshot.vendors),
        )
    if not allows(vendor, snapshot.deployment):
        return Problem(
            "VendorNotAllowed",
            f'{where}: Vendor "{vendor.name}" does not allow ModelDeployment "{snapshot.deployment.name}"; '
            "ask its owner to add the name or a label to spec.allowedDeployments",
        )
    unspoken = dialect_problem(vendor.spec.dialect, snapshot.deployment.spec.modality)
    if unspoken:
        return Problem(DIALECT_CANNOT_SERVE, f'{where}: Vendor "{vendor.name}" {unspoken}')
    return VendorBackendTarget(backend=backend.name, vendor=vendor, model=backend.vendor.model)


def in_house_target(
    name: str, wanted: InHouse, deployment: ModelDeployment, catalogue: Catalogue
) -> InHouseTarget | Problem:
    """An in-house backend, resolved, whether or not this release serves its modality."""
    where, modality = f'backend "{name}"', deployment.spec.modality
    model = catalogue.models.get(wanted.model)
    if model is None and wanted.model in catalogue.unfit_models:
        return _unfit(where, "CatalogModel", wanted.model, catalogue.unfit_models)
    if model is None:
        fit = [item.name for item in catalogue.models.values() if item.spec.modality == modality and item.spec.sources]
        return Problem("ModelNotFound", f'{where}: CatalogModel "{wanted.model}" not found; ' + _instead(fit))
    if model.spec.modality != modality:
        return Problem(
            "WrongModality",
            f'{where}: CatalogModel "{model.name}" is for {model.spec.modality}, '
            f"this ModelDeployment is for {modality}; choose another model",
        )
    if not model.spec.sources:
        return Problem(
            "NoSource",
            f'{where}: CatalogModel "{model.name}" has no source, its weights are not public; add one to it '
            "(spec.sources: the runtime with your image, and where the weights are), or choose another model",
        )
    source = _source(model.spec, wanted.runtime)
    if source is None:
        offered = ", ".join(item.runtime for item in model.spec.sources)
        return Problem(
            "RuntimeNotSupported",
            f'{where}: CatalogModel "{model.name}" has no source for runtime "{wanted.runtime}"; '
            f"add one to it or choose one of: {offered}",
        )
    runtime = catalogue.runtimes.get(source.runtime)
    if runtime is None and source.runtime in catalogue.unfit_runtimes:
        return _unfit(where, "InferenceRuntime", source.runtime, catalogue.unfit_runtimes)
    if runtime is None:
        return Problem(
            "RuntimeNotFound",
            f'{where}: InferenceRuntime "{source.runtime}" not found; ' + _instead(catalogue.runtimes),
        )
    if modality not in runtime.spec.modalities:
        return Problem(
            "WrongModality",
            f'{where}: InferenceRuntime "{runtime.name}" does not serve {modality}; choose another runtime',
        )
    credentials = wanted.source_credentials
    undeliverable = delivery_problem(source, runtime.spec, wanted)
    if undeliverable:
        return Problem(
            "DeliveryNotPossible",
            f'{where}: CatalogModel "{model.name}" on InferenceRuntime "{runtime.name}": {undeliverable}',
        )
    accelerator = wanted.accelerator or Accelerator()
    class_ = catalogue.classes.get(accelerator.class_)
    if class_ is None and accelerator.class_ in catalogue.unfit_classes:
        return _unfit(where, "AcceleratorClass", accelerator.class_, catalogue.unfit_classes)
    if class_ is None:
        return Problem(
            "AcceleratorClassNotFound",
            f'{where}: AcceleratorClass "{accelerator.class_}" not found; ' + _instead(catalogue.classes),
        )
    pod = wanted.pod or NO_SETTINGS
    problem = _too_large(where, model, class_, accelerator.count) or _conflict(where, pod, class_)
    if problem is not None:
        return problem
    profile = next((item.slots for item in source.profiles if item.class_ == class_.name), None)
    return InHouseTarget(
        backend=name,
        model=model,
        source=source,
        runtime=runtime,
        class_=class_,
        count=accelerator.count,
        slots=wanted.slots or profile or runtime.spec.slots,
        startup_timeout_s=duration_s(wanted.startup_timeout or runtime.spec.startup_budget),
        pod=pod,
        credentials_secret=credentials.secret_ref.name if credentials else "",
        cache_claim=wanted.model_cache.claim_name if wanted.model_cache else "",
    )


def _too_large(
    where: str, model: Resource[CatalogModelSpec], class_: Resource[AcceleratorClassSpec], count: int
) -> Problem | None:
    """A server that runs out of memory at its start says so in ten minutes, in a log that nobody reads."""
    needed = model.spec.requirements.memory_gib if model.spec.requirements else None
    if needed is None or class_.spec.memory_gib is None or class_.spec.memory_gib * count >= needed:
        return None
    return Problem(
        MODEL_TOO_LARGE,
        f'{where}: CatalogModel "{model.name}" needs {needed} GiB of accelerator memory, {count} of AcceleratorClass '
        f'"{class_.name}" has {class_.spec.memory_gib * count} GiB; raise accelerator.count, or choose a larger class',
    )


def _conflict(where: str, pod: PodSettings, class_: Resource[AcceleratorClassSpec]) -> Problem | None:
    """What the pod's settings say against its class."""
    for key, value in pod.node_selector.items():
        asked = class_.spec.node_selector.get(key, value)
        if asked != value:
            return Problem(
                POD_CONFLICT,
                f'{where}: pod.nodeSelector wants "{key}: {value}", AcceleratorClass "{class_.name}" wants '
                f'"{key}: {asked}"; take it out, or choose another class',
            )
    resources = pod.server.resources if pod.server is not None else None
    name = class_.spec.resource_name
    if name and resources is not None and name in (*resources.requests, *resources.limits):
        return Problem(
            POD_CONFLICT,
            f'{where}: pod.server.resources names "{name}", which AcceleratorClass "{class_.name}" asks for; '
            "set accelerator.count instead",
        )
    return None


def _source(model: CatalogModelSpec, runtime: str | None) -> Source | None:
    return next((source for source in model.sources if runtime is None or source.runtime == runtime), None)


def _unfit(where: str, kind: str, name: str, problems: Mapping[str, str]) -> Problem:
    return Problem(f"{kind}Invalid", f'{where}: {kind} "{name}" is invalid: {problems[name]}; correct it')


def _instead(names: Iterable[str] | Mapping[str, object]) -> str:
    known = sorted(names)
    if not known:
        return "create it"
    return f"create it or choose one of: {', '.join(known[:10])}{', ...' if len(known) > 10 else ''}"
