"""Whole repositories of a Hub: which files they have, at which commit, and what of it is checked."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from insource.delivery import listing
from insource.delivery.access import Credentials
from insource.delivery.attempts import Download
from insource.delivery.fetch import fetch
from insource.delivery.problems import DeliveryError
from insource.wire.delivery import WantedTree
from tests.downloads import Clock, download_into, reach_of
from tests.model_source import Fault, Source, model_source
from tests.unit.test_delivery_fetch import got

REPOSITORY = "org/model"
FIRST, SECOND = "1" * 40, "2" * 40
WEIGHTS = random.Random(3).randbytes(600_000)
FILES = {"config.json": b"{}", "model.safetensors": WEIGHTS, "onnx/a b+c.json": b"[]"}
AT = f"/{REPOSITORY}/resolve/{FIRST}/model.safetensors"
API = f"/api/models/{REPOSITORY}"


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("certificates")


@pytest.fixture
def source(certificates: Path) -> Iterator[Source]:
    with model_source(certificates) as running:
        running.hub(REPOSITORY, FIRST, FILES, large=("model.safetensors",))
        running.revisions[REPOSITORY, "main"] = FIRST
        running.revisions[REPOSITORY, "refs/pr/1"] = FIRST
        yield running


@pytest.fixture
def download(tmp_path: Path, source: Source) -> Download:
    return download_into(tmp_path / "model", reach_of(source.ca), Clock())


def tree(source: Source, revision: str = "main", repository: str = REPOSITORY) -> WantedTree:
    return WantedTree(tree=f"hf://{repository}", revision=revision, endpoint=source.url(""))


def files(download: Download) -> dict[str, bytes]:
    return {path: body for path, body in got(download).items() if path != ".listing.json"}


@pytest.mark.parametrize("page_size", [1, 2, 1000])
@pytest.mark.parametrize("revision", ["main", FIRST, "refs/pr/1"])
def test_a_repository_is_fetched_whole_and_only_once(
    download: Download, source: Source, page_size: int, revision: str
) -> None:
    source.page_size = page_size
    fetch([tree(source, revision)], download)
    assert files(download) == FILES
    before = len(source.asked)
    fetch([tree(source, revision)], download)
    assert len(source.asked) == before


def test_a_branch_that_moves_meanwhile_mixes_nothing(download: Download, source: Source) -> None:
    source.faults[AT] = Fault(status=404, times=1)
    with pytest.raises(DeliveryError, match="404"):
        fetch([tree(source)], download)
    assert files(download) == {"config.json": b"{}"}
    source.hub(REPOSITORY, SECOND, {"config.json": b"other", "model.safetensors": b"other"})
    source.revisions[REPOSITORY, "main"] = SECOND
    fetch([tree(source)], download)
    assert files(download) == FILES
    fetch([tree(source)], replace(download, into=download.into.with_name("another")))
    assert (download.into.with_name("another") / "model.safetensors").read_bytes() == b"other"


def test_what_the_hub_says_of_a_large_file_is_checked(download: Download, source: Source) -> None:
    source.files[AT] = bytes(len(WEIGHTS))
    with pytest.raises(DeliveryError, match=r"model.safetensors: expected SHA-256"):
        fetch([tree(source)], download)
    assert "model.safetensors" not in files(download)


def test_a_small_file_of_another_length_is_not_taken(download: Download, source: Source) -> None:
    source.files[f"/{REPOSITORY}/resolve/{FIRST}/config.json"] = b"{} and more"
    with pytest.raises(DeliveryError, match=r"config.json: .* was listed with 2 bytes and has 11"):
        fetch([tree(source)], download)
    assert files(download) == {}


def test_a_cut_connection_goes_on_where_it_was(download: Download, source: Source) -> None:
    source.faults[AT] = Fault(cut_after=200_000, times=2)
    fetch([tree(source)], download)
    assert files(download) == FILES
    assert source.ranges(AT) == ["", "bytes=200000-", "bytes=400000-"]


def test_a_hub_in_trouble_is_asked_again(download: Download, source: Source) -> None:
    source.faults[f"{API}/revision/main"] = Fault(status=429, times=2)
    source.faults[f"{API}/tree/{FIRST}"] = Fault(status=503, times=2)
    fetch([tree(source)], download)
    assert files(download) == FILES


def test_a_hub_that_stays_in_trouble_is_given_up(download: Download, source: Source) -> None:
    source.faults[f"{API}/revision/main"] = Fault(status=503)
    with pytest.raises(DeliveryError, match=r"hf://org/model: .*HTTP 503 .*\(6 times in a row\)"):
        fetch([tree(source)], download)


@pytest.mark.parametrize(
    ("revision", "repository", "words"),
    [
        ("none", REPOSITORY, r"revision/none: HTTP 404 .*\(RevisionNotFound\); correct the CatalogModel"),
        ("main", "org/none", r"HTTP 404 .*\(RepoNotFound\); correct the CatalogModel"),
    ],
)
def test_what_is_not_there_is_named(
    download: Download, source: Source, revision: str, repository: str, words: str
) -> None:
    with pytest.raises(DeliveryError, match=words):
        fetch([tree(source, revision, repository)], download)


def test_a_gated_repository_wants_the_token_at_every_step(download: Download, source: Source) -> None:
    source.credentials = "Bearer hf_s3cret"
    source.page_size = 1
    with pytest.raises(DeliveryError, match="not allowed; give the backend sourceCredentials"):
        fetch([tree(source)], download)
    with pytest.raises(DeliveryError, match='not allowed; check Secret "hub"') as told:
        fetch([tree(source)], replace(download, credentials=Credentials("hub", token="hf_wr0ng")))
    assert "wr0ng" not in str(told.value)
    fetch([tree(source)], replace(download, credentials=Credentials("hub", token="hf_s3cret")))
    assert files(download) == FILES


@pytest.mark.parametrize(
    "names",
    [["../../etc/x"], ["/etc/x"], ["a/../b"], [".lock"], ["a\nb"], ["x", "x.part"], ["x", "x.part.note"], ["x", "x/y"]],
)
def test_a_file_that_would_leave_its_folder_or_take_our_names_is_refused(
    download: Download, source: Source, names: list[str]
) -> None:
    source.hub(REPOSITORY, FIRST, dict.fromkeys(names, b"x"))
    with pytest.raises(DeliveryError, match="cannot be kept here"):
        fetch([tree(source)], download)
    assert files(download) == {}


def test_a_list_without_an_end_ends(download: Download, source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "MOST_FILES", 3)
    source.repositories[REPOSITORY, FIRST] = [{"type": "directory", "path": "x"}] * 9
    source.page_size = 1
    with pytest.raises(DeliveryError, match="hf://org/model: its list has no end"):
        fetch([tree(source)], download)
    source.hub(REPOSITORY, FIRST, dict.fromkeys("abcd", b"x"))
    source.page_size = 4
    with pytest.raises(DeliveryError, match="it has more than 3 files"):
        fetch([tree(source)], download)


@pytest.mark.parametrize("body", [b"<html>", b"[]", b'{"sha": "../../x"}'])
def test_what_is_no_hub_is_told(download: Download, source: Source, body: bytes) -> None:
    source.files["/other"] = body
    source.faults[f"{API}/revision/main"] = Fault(status=302, location="/other")
    with pytest.raises(DeliveryError, match="is it a Hub"):
        fetch([tree(source)], download)
