"""Which files a repository or a folder in a bucket has: asked once, kept beside them, asked again only if it must be.

Of a repository the revision becomes a commit at the first look, and stays that one for this folder: a branch that moves
between two tries, or between two replicas with one cache, mixes nothing.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, unquote_plus, urlencode, urlsplit
from xml.etree import ElementTree

import structlog
from pydantic import TypeAdapter, ValidationError

from insource.delivery.attempts import Attempts, Download
from insource.delivery.files import PART, RESERVED, stored
from insource.delivery.problems import DeliveryError, TransientError
from insource.delivery.transfer import read_all
from insource.wire.delivery import WantedFile, WantedTree

NOTE = ".listing.json"
MOST_FILES = 10_000
_LARGEST_PAGE = 16 * 1024 * 1024
_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_NEXT = re.compile(r'<([^<>]+)>\s*;[^,]*\brel="?next"?')
_FILES = TypeAdapter(tuple[WantedFile, ...])

log = structlog.get_logger("insource.delivery")


def listed(tree: WantedTree, download: Download, deadline_s: float) -> tuple[WantedFile, ...]:
    """The files of a tree. Raises `DeliveryError` if they cannot be had, or cannot be written here."""
    note = download.into / NOTE
    known = _noted(note, tree)
    # What is in a bucket may change, so a list of it is only good if nothing is missing.
    if known and (tree.tree.startswith("hf://") or all(stored(download.into / each.path, each.size) for each in known)):
        return known
    attempts = Attempts(tree.tree, download, deadline_s, log.bind(source=tree.tree))
    while True:
        try:
            found = tuple(_repository(tree, download) if tree.tree.startswith("hf://") else _folder(tree, download))
            break
        except TransientError as error:
            attempts.failed(error)
            if attempts.late:
                raise DeliveryError(f"{tree.tree}: not listed after {download.limit_s:g} s (last: {error})") from error
    _check(tree, found)
    stored_text = {"tree": tree.model_dump(), "files": [each.model_dump() for each in found]}
    fresh = note.with_name(NOTE + ".new")
    fresh.write_text(json.dumps(stored_text))
    fresh.replace(note)
    log.info("listed", source=tree.tree, files=len(found), size=sum(each.size or 0 for each in found))
    return found


def _noted(note: Path, tree: WantedTree) -> tuple[WantedFile, ...]:
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError, ValidationError):
        told = json.loads(note.read_text())
        if told["tree"] == tree.model_dump():
            return _FILES.validate_python(told["files"])
    return ()


def _check(tree: WantedTree, found: tuple[WantedFile, ...]) -> None:
    if not found:
        raise DeliveryError(f"{tree.tree}: there is no file in it; correct the CatalogModel's source")
    if len(found) > MOST_FILES:
        raise DeliveryError(
            f"{tree.tree}: it has more than {MOST_FILES} files; name those of the model in sources[].files"
        )
    paths = {each.path for each in found}
    for path in sorted(paths):
        parts = path.split("/")
        strange = any(part in ("", ".", "..") for part in parts) or any(ord(character) < 32 for character in path)
        # A name of ours, or a file where others have a folder.
        ours = parts[-1] in (*RESERVED, NOTE) or (PART in path and path.partition(PART)[0] in paths)
        if strange or ours or any("/".join(parts[:depth]) in paths for depth in range(1, len(parts))):
            raise DeliveryError(
                f"{tree.tree}: a file called {path[:200]!r} cannot be kept here; "
                "name the files of the model in sources[].files"
            )


def _repository(tree: WantedTree, download: Download) -> Iterator[WantedFile]:
    """By the Hub's API: first the revision's commit, then that commit's files, in pages."""
    name, hub = tree.tree.removeprefix("hf://"), (tree.endpoint or "").rstrip("/")
    revision = tree.revision or "main"
    told, _ = _json(f"{hub}/api/models/{name}/revision/{quote(revision, safe='')}", download)
    commit = str(told.get("sha", "")) if isinstance(told, dict) else ""
    if not _COMMIT.fullmatch(commit):
        raise DeliveryError(f"{tree.tree}: the Hub at {hub} tells no commit of revision {revision}; is it a Hub?")
    log.info("revision_is", source=tree.tree, revision=revision, commit=commit)
    page, count = f"{hub}/api/models/{name}/tree/{commit}?recursive=true", 0
    for _ in range(MOST_FILES):
        entries, link = _json(page, download)
        if not isinstance(entries, list):
            raise DeliveryError(f"{tree.tree}: the Hub at {hub} answers with no list of files; is it a Hub?")
        for entry in entries:
            if isinstance(entry, dict) and entry.get("type") == "file":
                count += 1
                yield _file(f"{hub}/{name}/resolve/{commit}", entry)
        page = _next(page, link)
        if not page or count > MOST_FILES:
            return
    raise _endless(tree)


def _file(base: str, entry: dict[str, Any]) -> WantedFile:
    path, large = str(entry.get("path", "")), entry.get("lfs")
    digest = str(large.get("oid", "")) if isinstance(large, dict) else ""
    size = entry.get("size")
    return WantedFile(
        url=f"{base}/{quote(path)}",
        path=path,
        sha256=digest if _DIGEST.fullmatch(digest) else "",
        size=size if isinstance(size, int) else None,
    )


def _next(page: str, link: str) -> str:
    """The next page, at the same host whatever a mirror's copied header says: the token is for that one only."""
    found = _NEXT.search(link)
    if found is None:
        return ""
    query = urlsplit(found.group(1)).query
    return f"{page.partition('?')[0]}?{query}" if dict(parse_qsl(query)).get("cursor") else ""


def _json(url: str, download: Download) -> tuple[Any, str]:
    body, link = read_all(url, download.credentials, download.reach, limit=_LARGEST_PAGE)
    try:
        return json.loads(body), link
    except ValueError:
        raise DeliveryError(f"{url.partition('?')[0]}: it answers with no JSON; is it a Hub?") from None


def _folder(tree: WantedTree, download: Download) -> Iterator[WantedFile]:
    """By ListObjectsV2, in pages. What ends with a slash is a folder's own mark, and no file."""
    root, _, prefix = tree.tree.removeprefix("s3://").removeprefix("gs://").partition("/")
    bucket = f"{tree.tree[:5]}{root}/"
    query, count = {"list-type": "2", "encoding-type": "url", "prefix": prefix}, 0
    for _ in range(MOST_FILES):
        # Sorted and `%20`, as a signature wants it.
        asked = urlencode(sorted(query.items()), quote_via=quote, safe="-._~")
        body, _ = read_all(bucket, download.credentials, download.reach, asked, limit=_LARGEST_PAGE)
        page = _parsed(body, tree)
        plain = (lambda text: unquote_plus(text)) if page.findtext("EncodingType") == "url" else str
        for entry in page.iter("Contents"):
            key, size = plain(entry.findtext("Key") or ""), entry.findtext("Size") or ""
            if key.startswith(prefix) and not key.endswith("/"):
                count += 1
                yield WantedFile(url=bucket + key, path=key[len(prefix) :], size=int(size) if size.isdigit() else None)
        token = page.findtext("NextContinuationToken")
        if page.findtext("IsTruncated") != "true" or not token or count > MOST_FILES:
            return
        query["continuation-token"] = token
    raise _endless(tree)


def _endless(tree: WantedTree) -> DeliveryError:
    return DeliveryError(f"{tree.tree}: its list has no end; name the files of the model in sources[].files")


def _parsed(body: bytes, tree: WantedTree) -> ElementTree.Element:
    """Without namespaces, as some servers write none."""
    try:
        if b"<!DOCTYPE" in body:
            raise ValueError
        page = ElementTree.fromstring(body)
    except (ElementTree.ParseError, ValueError):
        raise DeliveryError(f"{tree.tree}: it answers with no list of objects; is it a bucket?") from None
    for element in page.iter():
        element.tag = element.tag.rpartition("}")[2]
    return page
