"""InferenceRuntime: how one model server is run."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from insource.api.conditions import StatusModel
from insource.api.fields import ATOMIC, SET, Duration, ModelId, Quantity, Spec, listed_by
from insource.wire.vocabulary import Modality

Argument = Annotated[str, Field(max_length=1024)]
Image = Annotated[str, Field(min_length=1, max_length=512)]


class EnvVar(Spec):
    """One environment variable of the server."""

    name: Annotated[str, Field(min_length=1, max_length=253, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
    value: Annotated[str, Field(max_length=4096)] = ""
    """May refer to `$(MODEL_NAME)`, `$(MODEL_ID)`, `$(MODEL_URI)`, `$(PORT)`, `$(POD_IP)`, `$(SLOTS)` and
    `$(CACHE_DIR)`, a volume for weights that the server fetches itself; with a modelDelivery other than Preloaded also
    to `$(MODEL_DIR)`, where they are, and with Download to `$(MODEL_FILE)`, the path of the source's first file."""


class Resources(Spec):
    """CPU and memory of one server container; the accelerator is added to the limits."""

    requests: Annotated[dict[str, Quantity], Field(max_length=8)] = {}
    limits: Annotated[dict[str, Quantity], Field(max_length=8)] = {}


class InferenceRuntimeSpec(Spec):
    """One container, and what the adapter must know about it."""

    modalities: Annotated[tuple[Modality, ...], Field(min_length=1, max_length=8, json_schema_extra=SET)]
    image: Image
    accelerator_images: Annotated[dict[str, Image], Field(max_length=32)] = {}
    """AcceleratorClass -> the image on it, where that is another one than `image`."""
    command: Annotated[tuple[Argument, ...], Field(max_length=64, json_schema_extra=ATOMIC)] = ()
    args: Annotated[tuple[Argument, ...], Field(max_length=64, json_schema_extra=ATOMIC)] = ()
    env: Annotated[tuple[EnvVar, ...], Field(max_length=64, json_schema_extra=listed_by("name"))] = ()
    port: Annotated[int, Field(ge=1024, le=65535)] = 8000
    """Where the server listens, on `$(POD_IP)`; also its `$(PORT)`."""
    health_path: Annotated[str, Field(max_length=253, pattern=r"^/")] = "/health"
    """Answers 200 once the server can take requests."""
    api_prefix: Annotated[str, Field(max_length=253, pattern=r"^(/[A-Za-z0-9._-]+)*$")] = "/v1"
    """What precedes `/audio/transcriptions`."""
    request_model: ModelId = "$(MODEL_NAME)"
    """The name that the server wants in requests; may refer to `$(MODEL_NAME)` and `$(MODEL_ID)`."""
    slots: Annotated[int, Field(ge=1, le=256)] = 1
    """Requests that one replica serves at once, where the model's profile does not say."""
    startup_budget: Duration = "20m"
    resources: Resources | None = None
    shm: Quantity | None = None
    """Size of `/dev/shm`, in memory: it counts to the server's memory limit. Absent: the node's own, mostly 64 MiB."""
    run_as_user: Annotated[int, Field(ge=1, le=2_147_483_647)] | None = None
    """The server's user id, for an image that would run as root, or as a user that it knows only by name: Kubernetes
    starts neither in a pod of ours. Absent: the image's own."""
    model_delivery: Literal["Download", "Mount", "ImageVolume", "Preloaded"] = "Preloaded"
    """How the weights get to the server's `$(MODEL_DIR)`. Download: an init container fetches `hf` and `https` sources,
    checks them, and has to be done within the backend's startupTimeout. Mount: a `pvc` source, read-only. ImageVolume:
    an `oci` source, read-only. Preloaded: not at all; the image has them, or the server fetches `$(MODEL_URI)`
    itself."""


class InferenceRuntimeStatus(StatusModel):
    """Nothing beyond conditions yet."""
