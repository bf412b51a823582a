"""Finding a model's files offline: `package://<distribution>` is a model inside an installed Python package.

Nothing here, and nothing that is given the folder found here, goes to a network.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
from fnmatch import fnmatchcase
from pathlib import Path

WEIGHTS = "model.bin"
SCHEME = "package://"


class ModelUnavailableError(Exception):
    """The model's files are not there, or are not those that were asked for; the text says what to do."""


def locate_model(uri: str) -> Path:
    """The folder with `model.bin` of `package://<distribution>`. Raises `ModelUnavailableError`."""
    return locate_weights(uri, WEIGHTS).parent


def delivered_model(folder: Path) -> Path:
    """`folder`, if it has `model.bin`. Raises `ModelUnavailableError`."""
    return delivered_weights(folder, WEIGHTS).parent


def verify_model(folder: Path, sha256: str) -> None:
    """Compare `model.bin` in `folder` with the hex `sha256`; empty is not compared. Raises `ModelUnavailableError`."""
    verify_weights(folder / WEIGHTS, sha256)


def locate_weights(uri: str, pattern: str) -> Path:
    """The one file of `package://<distribution>` whose name matches `pattern`, such as `*.onnx`.

    Raises `ModelUnavailableError`.
    """
    if not uri.startswith(SCHEME) or not uri.removeprefix(SCHEME):
        raise ModelUnavailableError(f"MODEL_URI={uri!r}: this server reads {SCHEME}<python distribution> only")
    name = uri.removeprefix(SCHEME)
    try:
        distribution = importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        raise ModelUnavailableError(
            f"MODEL_URI={uri!r}: the package {name!r} is not installed; pip install {name}"
        ) from None
    found = [Path(str(file.locate())) for file in distribution.files or () if fnmatchcase(file.name, pattern)]
    if len(found) != 1 or not found[0].is_file():
        raise ModelUnavailableError(
            f"MODEL_URI={uri!r}: the package has {len(found)} files named {pattern}, 1 is needed"
        )
    return found[0]


def delivered_weights(folder: Path, pattern: str) -> Path:
    """The one file in `folder` whose name matches `pattern`. Raises `ModelUnavailableError`."""
    found = sorted(path for path in folder.glob(pattern) if path.is_file())
    if not found:
        raise ModelUnavailableError(
            f"MODEL_DIR={str(folder)!r}: there is no {pattern} in it; "
            "name it among the files of the CatalogModel's source"
        )
    if len(found) > 1:
        names = ", ".join(path.name for path in found)
        raise ModelUnavailableError(f"MODEL_DIR={str(folder)!r}: 1 file named {pattern} is needed, not {names}")
    return found[0]


def verify_weights(weights: Path, sha256: str) -> None:
    """Compare a file with the hex `sha256`; empty is not compared. Raises `ModelUnavailableError`."""
    if not sha256:
        return
    with weights.open("rb") as file:
        actual = hashlib.file_digest(file, "sha256").hexdigest()
    if actual != sha256.lower():
        raise ModelUnavailableError(
            f"{weights}: SHA-256 is {actual}, but MODEL_SHA256 asks for {sha256}; "
            "reinstall the package, or correct the CatalogModel if the new weights are wanted"
        )
