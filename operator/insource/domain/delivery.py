"""Which files a model consists of and how they reach the server, from the CatalogModel's source and the runtime."""

from __future__ import annotations

from urllib.parse import urlsplit

from insource.api.catalog_model import Source
from insource.api.inference_runtime import InferenceRuntimeSpec
from insource.api.model_deployment import InHouse
from insource.domain.names import digest
from insource.wire.delivery import WantedFile

SCHEMES = {"Download": ("https", "hf"), "Mount": ("pvc",), "ImageVolume": ("oci",)}
"""modelDelivery -> the schemes of sources that it can deliver. Preloaded leaves every source to the server."""
PRELOADED = "Preloaded"


def delivery_problem(source: Source, runtime: InferenceRuntimeSpec, wanted: InHouse) -> str:
    """Why the source cannot be delivered in the runtime's way, and what to do; empty if it can."""
    way = runtime.model_delivery
    for name, given in (("sourceCredentials", wanted.source_credentials), ("modelCache", wanted.model_cache)):
        if given is not None and way != "Download":
            return f"{name}: for a modelDelivery of Download only, this runtime's is {way}; remove it"
    if way == PRELOADED:
        return ""
    scheme, _, rest = source.uri.partition("://")
    if scheme not in SCHEMES[way]:
        schemes = " or ".join(f"{item}://" for item in SCHEMES[way])
        return f"modelDelivery {way} needs a source of {schemes}, not {source.uri}"
    if scheme == "hf":
        if rest.count("/") != 1 or rest.startswith("/") or rest.endswith("/"):
            return f"{source.uri}: write it as hf://<owner>/<repository>"
        if not source.files:
            return f"{source.uri}: name the files to download in the CatalogModel's sources[].files"
    if scheme == "https":
        return _https_problem(source)
    if scheme == "pvc" and not _claim(source.uri)[0]:
        return f"{source.uri}: write it as pvc://<claim>/<path>"
    if scheme == "pvc" and ".." in _claim(source.uri)[1].split("/"):
        return f"{source.uri}: the path must stay in the claim; remove `..`"
    return ""


def wanted_files(source: Source, hf_endpoint: str) -> tuple[WantedFile, ...]:
    """The files of an `https` or `hf` source that `delivery_problem` has nothing against."""
    scheme, _, rest = source.uri.partition("://")
    if scheme == "hf":
        base = f"{hf_endpoint.rstrip('/')}/{rest}/resolve/{source.revision or 'main'}"
    elif source.files:
        base = source.uri.rstrip("/")
    else:
        name = urlsplit(source.uri).path.rpartition("/")[2]
        return (WantedFile(url=source.uri, path=name, sha256=source.sha256 or ""),)
    return tuple(
        WantedFile(url=f"{base}/{item.path}", path=item.path, sha256=item.sha256 or "") for item in source.files
    )


def cache_folder(source: Source) -> str:
    """The folder in a cache for what is downloaded from a source: other files, another folder."""
    return digest([source.uri, source.revision, source.sha256, [item.model_dump(mode="json") for item in source.files]])


def claim_and_path(source: Source) -> tuple[str, str]:
    """Of a `pvc` source: the claim's name, and the path in it without slashes around."""
    return _claim(source.uri)


def image_reference(source: Source) -> str:
    """Of an `oci` source: what a container runtime pulls. Its `revision`, if it names no tag itself, is the tag."""
    reference = source.uri.partition("://")[2]
    tagged = ":" in reference.rpartition("/")[2] or "@" in reference
    return reference if tagged or not source.revision else f"{reference}:{source.revision}"


def _claim(uri: str) -> tuple[str, str]:
    claim, _, path = uri.partition("://")[2].partition("/")
    return claim, path.strip("/")


def _https_problem(source: Source) -> str:
    try:
        parts = urlsplit(source.uri)
        port = parts.port
    except ValueError:
        return "its https source is no URL that can be read; write it as https://<host>/<path>"
    if parts.username or parts.password:  # the URI is not repeated: it holds a secret
        return "an https source must not carry a user or password: put them into sourceCredentials"
    if not parts.hostname or parts.fragment or port == 0:
        return f"{source.uri}: write it as https://<host>/<path>"
    if source.files and parts.query:
        return f"{source.uri}: with files, the URI is the folder that they are in; remove the query"
    name = parts.path.rpartition("/")[2]
    if not source.files and (not name or name.startswith(".")):
        return f"{source.uri}: it names no file; give the file's own URL, or name files in sources[].files"
    return ""
