"""CatalogModel: an entry of the organisation's own model catalogue."""

from __future__ import annotations

from typing import Annotated

from pydantic import ConfigDict, Field

from insource.api.conditions import StatusModel
from insource.api.fields import FilePath, ObjectName, Sha256, Spec, Text, listed_by, rule, rules
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
    """Of the repository or package at the URI; the server's `$(MODEL_REVISION)`."""
    sha256: Sha256 | None = None
    """Of the weights file: the server checks it before it loads it (`$(MODEL_SHA256)`). Of an `https` source without
    `files` it is the digest of the one file, checked by the download, too."""
    files: Annotated[tuple[SourceFile, ...], Field(max_length=128, json_schema_extra=listed_by("path"))] = ()
    """What to download, where the runtime's modelDelivery is Download. Empty: the URI is itself one file (`https`)."""
    profiles: Annotated[tuple[Profile, ...], Field(max_length=32, json_schema_extra=listed_by("class"))] = ()

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(
                "!self.uri.matches('^https://[^/?#]*@')",
                "uri must not carry a user or password, everybody can read it: use the backend's sourceCredentials",
                fieldPath=".uri",
            ),
            rule(
                "!has(self.files) || size(self.files) == 0 || self.uri.startsWith('hf://')"
                " || self.uri.startsWith('https://')",
                "files are of an hf:// or https:// source: the others are delivered whole",
                fieldPath=".files",
            ),
        )
    )


class CatalogModelSpec(Spec):
    """What the model is, and how to get it."""

    modality: Modality
    publisher: Text = ""
    version: Text = ""
    licence: Text = ""
    sources: Annotated[tuple[Source, ...], Field(min_length=1, max_length=16, json_schema_extra=listed_by("runtime"))]
    """In order of preference."""


class CatalogModelStatus(StatusModel):
    """Nothing beyond conditions yet."""
