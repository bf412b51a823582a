"""What a download is told by the pod that it runs in (`insource fetch`)."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, TypeAdapter

FILES_VARIABLE = "INSOURCE_FETCH_FILES"
"""Environment variable: a JSON list of `WantedFile` and `WantedTree`; what is None is left out."""


class WantedFile(BaseModel):
    """One file to have."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: str
    """`https`, without credentials; or `s3://bucket/key`, `gs://bucket/key`: the key as it is, nothing escaped."""
    path: str
    """Where, below the folder for the model."""
    sha256: str = ""
    """Hexadecimal; empty: not known."""
    size: int | None = None
    """Bytes; None: not known."""
    version: str | None = None
    """Of an object in a bucket: S3's version id, Google's generation; None: the newest."""


class WantedTree(BaseModel):
    """All files of a repository, or of a folder in a bucket: the source is asked which."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    tree: str
    """`hf://owner/repository`, `s3://bucket/folder/` or `gs://bucket/folder/`; a bucket's root is `s3://bucket/`."""
    revision: str | None = None
    """Of a repository: a commit, a tag or a branch."""
    endpoint: str | None = None
    """Of a repository: the Hub, `https`."""


Wanted = WantedFile | WantedTree
WANTED_FILES = TypeAdapter(tuple[Wanted, ...])
