"""CatalogModel: an entry of the organisation's own model catalogue."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from insource.api.conditions import StatusModel
from insource.api.fields import (
    Date,
    FilePath,
    Label,
    ModelId,
    ObjectName,
    Sha256,
    Spec,
    Text,
    listed_by,
    rule,
    rules,
)
from insource.wire.vocabulary import Modality


class Profile(Spec):
    """What the model was found to do on one class."""

    class_: Annotated[ObjectName, Field(alias="class")]
    slots: Annotated[int, Field(ge=1, le=256)]
    """Requests that one replica serves at once."""


class SourceFile(Spec):
    """One file below a source's URI."""

    path: FilePath
    """Below the URI, and the same below the server's `$(MODEL_DIR)`."""
    sha256: Sha256 | None = None
    """Checked after the download, before anything can read the file; absent: only its length is."""


class Source(Spec):
    """Where the weights come from, for one runtime."""

    runtime: ObjectName
    """An InferenceRuntime."""
    uri: Annotated[str, Field(min_length=1, max_length=1024, pattern=r"^(hf|s3|gs|oci|pvc|https|package)://[^\s]+$")]
    revision: Annotated[str, Field(max_length=128)] = ""
    """Of the repository or package at the URI, or the version of an object in a bucket; the server's
    `$(MODEL_REVISION)`."""
    sha256: Sha256 | None = None
    """Of the weights file: the server checks it before it loads it (`$(MODEL_SHA256)`). Of a source that is one file
    (`https`, or an object in a bucket, without `files`) it is checked by the download, too."""
    files: Annotated[tuple[SourceFile, ...], Field(max_length=128, json_schema_extra=listed_by("path"))] = ()
    """What to download, where the runtime's modelDelivery is Download. Empty: the URI's one file, or all of a
    repository (`hf`), or all below a folder in a bucket (`s3`, `gs`: the URI ends with `/`)."""
    profiles: Annotated[tuple[Profile, ...], Field(max_length=32, json_schema_extra=listed_by("class"))] = ()

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(
                "!self.uri.matches('^https://[^/?#]*@')",
                "uri must not carry a user or password, everybody can read it: use the backend's sourceCredentials",
                fieldPath=".uri",
            ),
            rule(
                "!has(self.files) || size(self.files) == 0 || self.uri.matches('^(hf|https|s3|gs)://')",
                "files are of an hf://, https://, s3:// or gs:// source: the others are delivered whole",
                fieldPath=".files",
            ),
            rule(
                "!self.uri.matches('^(s3|gs)://') || self.uri.matches('^(s3|gs)://[a-z0-9][a-z0-9._-]*[a-z0-9](/.*)?$')",
                "a bucket's uri is s3://<bucket>/<key> or gs://<bucket>/<key>, with / at the end for a folder; "
                "credentials and the endpoint belong into the backend's sourceCredentials",
                fieldPath=".uri",
            ),
        )
    )


class VendorEquivalent(Spec):
    """A vendor's model that this one can take the place of; its price in the PriceBooks is what one compares with."""

    vendor: Label
    """As the PriceBooks have it: the Vendor's name."""
    model: ModelId
    """The vendor's own model id."""
    shutdown_on: Date | None = None
    """The day on which the vendor stops serving it, if the vendor has said so."""


class Requirements(Spec):
    """What the model needs to run at all."""

    memory_gib: Annotated[Annotated[int, Field(ge=1, le=65_536)] | None, Field(alias="memoryGiB")] = None
    """Of the accelerators of one replica, all together; absent: not known, nothing is checked."""


class Lifecycle(Spec):
    """Where the model stands with its publisher."""

    stage: Literal["Preview", "Available", "Deprecated", "Retired"] = "Available"
    deprecated_on: Date | None = None
    """From this day on it is Deprecated, whatever `stage` says."""
    shutdown_on: Date | None = None
    """From this day on it is Retired, whatever `stage` says."""
    successor: ObjectName | None = None
    """The CatalogModel that its publisher names instead."""


class CatalogModelSpec(Spec):
    """What the model is, and how to get it."""

    modality: Modality
    publisher: Text = ""
    version: Text = ""
    licence: Text = ""
    sources: Annotated[tuple[Source, ...], Field(max_length=16, json_schema_extra=listed_by("runtime"))] = ()
    """In order of preference. Empty: its weights are not public; whoever has them adds a source."""
    vendor_equivalents: Annotated[
        tuple[VendorEquivalent, ...], Field(max_length=32, json_schema_extra=listed_by("vendor", "model"))
    ] = ()
    """For the reader of the catalogue: no request is routed by it."""
    requirements: Requirements | None = None
    lifecycle: Lifecycle | None = None


class CatalogModelStatus(StatusModel):
    """Nothing beyond conditions yet."""
