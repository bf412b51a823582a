"""Which files a model consists of and how they reach the server, from the CatalogModel's source and the runtime."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from insource.api.catalog_model import Source
from insource.api.inference_runtime import InferenceRuntimeSpec
from insource.api.model_deployment import InHouse
from insource.domain.names import digest
from insource.wire.delivery import Wanted, WantedFile, WantedTree

BUCKETS = ("s3", "gs")
SCHEMES = {"Download": ("https", "hf", *BUCKETS), "Mount": ("pvc",), "ImageVolume": ("oci",)}
"""modelDelivery -> the schemes of sources that it can deliver. Preloaded leaves every source to the server."""
PRELOADED = "Preloaded"
MODEL_FILE = "$(MODEL_FILE)"
_BUCKET = re.compile(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]")


def delivery_problem(source: Source, runtime: InferenceRuntimeSpec, wanted: InHouse) -> str:
    """Why the source cannot be delivered in the runtime's way, and what to do; empty if it can."""
    way = runtime.model_delivery
    if uses_model_file(runtime) and (way != "Download" or not model_file(source)):
        return (
            f"it starts its server with $(MODEL_FILE), but {source.uri} with modelDelivery {way} names no file; name "
            "one in the source's files, first"
        )
    for name, given in (("sourceCredentials", wanted.source_credentials), ("modelCache", wanted.model_cache)):
        if given is not None and way != "Download":
            return f"{name}: for a modelDelivery of Download only, this runtime's is {way}; remove it"
    if way == PRELOADED:
        return ""
    scheme, _, rest = source.uri.partition("://")
    if scheme not in SCHEMES[way]:
        schemes = " or ".join(f"{item}://" for item in SCHEMES[way])
        return f"modelDelivery {way} needs a source of {schemes}, not {source.uri}"
    if scheme == "hf" and (rest.count("/") != 1 or rest.startswith("/") or rest.endswith("/")):
        return f"{source.uri}: write it as hf://<owner>/<repository>"
    if scheme == "https":
        return _https_problem(source)
    if scheme in BUCKETS:
        return _bucket_problem(source)
    if scheme == "pvc" and not _claim(source.uri)[0]:
        return f"{source.uri}: write it as pvc://<claim>/<path>"
    if scheme == "pvc" and ".." in _claim(source.uri)[1].split("/"):
        return f"{source.uri}: the path must stay in the claim; remove `..`"
    return ""


def wanted_files(source: Source, hf_endpoint: str) -> tuple[Wanted, ...]:
    """The files of a source for `Download` that `delivery_problem` has nothing against."""
    scheme, _, rest = source.uri.partition("://")
    if not source.files:
        if scheme == "hf":
            return (WantedTree(tree=source.uri, revision=source.revision or "main", endpoint=hf_endpoint),)
        if scheme in BUCKETS and source.uri.endswith("/"):
            return (WantedTree(tree=source.uri),)
        name = (source.uri if scheme in BUCKETS else urlsplit(source.uri).path).rpartition("/")[2]
        version = source.revision if scheme in BUCKETS and source.revision else None
        return (WantedFile(url=source.uri, path=name, sha256=source.sha256 or "", version=version),)
    base = source.uri.rstrip("/")
    if scheme == "hf":
        base = f"{hf_endpoint.rstrip('/')}/{rest}/resolve/{source.revision or 'main'}"
    return tuple(
        WantedFile(url=f"{base}/{item.path}", path=item.path, sha256=item.sha256 or "") for item in source.files
    )


def uses_model_file(runtime: InferenceRuntimeSpec) -> bool:
    """Whether the server is told one file of the model."""
    texts = (*runtime.command, *runtime.args, *(item.value for item in runtime.env))
    return any(MODEL_FILE in text for text in texts)


def model_file(source: Source) -> str:
    """The first file of a source for `Download`, below the model's folder; empty for one that names none."""
    if source.files:
        return source.files[0].path
    wanted = wanted_files(source, "")[0]
    return wanted.path if isinstance(wanted, WantedFile) else ""


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


def _bucket_problem(source: Source) -> str:
    """Note: a key may have any character; nothing in it is escaped, and nothing is a query."""
    scheme, _, rest = source.uri.partition("://")
    bucket, slash, key = rest.partition("/")
    if not slash or not _BUCKET.fullmatch(bucket) or key.startswith("/"):
        form = f"{scheme}://<bucket>"
        return f"{source.uri}: write it as {form}/<key>, or as {form}/<folder>/ for all that is in it"
    one = not source.files and not source.uri.endswith("/")
    if source.revision and not one:
        return f"{source.uri}: a revision is the version of one object; a folder has none: remove it"
    if one and key.rpartition("/")[2].startswith("."):
        return f"{source.uri}: the model's file cannot have a name that begins with a dot; rename the object"
    return ""
