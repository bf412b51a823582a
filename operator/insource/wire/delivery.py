"""What a download is told by the pod that it runs in (`insource fetch`)."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, TypeAdapter

FILES_VARIABLE = "INSOURCE_FETCH_FILES"
"""Environment variable: a JSON list of `WantedFile`."""


class WantedFile(BaseModel):
    """One file to have."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: str
    """`https`, without credentials."""
    path: str
    """Where, below the folder for the model."""
    sha256: str = ""
    """Hexadecimal; empty: not known."""


WANTED_FILES = TypeAdapter(tuple[WantedFile, ...])
