"""`insource fetch` against a real HTTPS server that fails in every way that is known."""

from __future__ import annotations

import errno
import json
import os
import random
import shutil
import ssl
import subprocess
import sys
import traceback
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from insource.delivery import connection
from insource.delivery import files as files_module
from insource.delivery.access import Credentials
from insource.delivery.attempts import Download
from insource.delivery.buckets import Bucket
from insource.delivery.fetch import fetch
from insource.delivery.problems import DeliveryError
from insource.wire.delivery import WantedFile
from tests.cluster.processes import wait_until
from tests.downloads import Clock, download_into, reach_of
from tests.model_source import Fault, Source, model_source, sha256

DATA = random.Random(7).randbytes(1_000_000)
PATH = "/models/model.bin"


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("certificates")


@pytest.fixture
def source(certificates: Path) -> Iterator[Source]:
    with model_source(certificates) as running:
        running.files[PATH] = DATA
        yield running


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def download(tmp_path: Path, source: Source, clock: Clock) -> Download:
    return download_into(tmp_path / "model", reach_of(source.ca), clock)


def wanted(source: Source, digest: str = sha256(DATA)) -> WantedFile:
    return WantedFile(url=source.url(PATH), path="weights/model.bin", sha256=digest)


def got(download: Download) -> dict[str, bytes]:
    return {
        str(p.relative_to(download.into)): p.read_bytes()
        for p in download.into.rglob("*")
        if p.is_file() and p.name != ".lock"
    }


def test_a_file_is_fetched_once_and_only_once(download: Download, source: Source) -> None:
    fetch([wanted(source)], download)
    assert got(download) == {"weights/model.bin": DATA}
    fetch([wanted(source)], download)
    assert len(source.asked) == 1


def test_a_file_that_is_there_but_wrong_is_fetched_again(download: Download, source: Source) -> None:
    (download.into / "weights").mkdir(parents=True)
    (download.into / "weights/model.bin").write_bytes(b"something else")
    fetch([wanted(source)], download)
    assert got(download) == {"weights/model.bin": DATA}


@pytest.mark.parametrize("with_etag", [True, False])
def test_a_cut_connection_goes_on_where_it_was(
    download: Download, source: Source, clock: Clock, with_etag: bool
) -> None:
    source.with_etag = with_etag
    source.faults[PATH] = Fault(cut_after=400_000, times=2)
    fetch([wanted(source)], download)
    assert got(download) == {"weights/model.bin": DATA}
    assert source.ranges(PATH) == ["", "bytes=400000-", "bytes=800000-"]
    assert len(clock.pauses) == 2
    assert [("if-range" in headers) for _, headers in source.asked[1:]] == [with_etag] * 2


def test_without_etag_and_digest_it_begins_anew(download: Download, source: Source) -> None:
    source.with_etag = False
    source.faults[PATH] = Fault(cut_after=400_000, times=1)
    fetch([wanted(source, "")], download)
    assert got(download) == {"weights/model.bin": DATA}
    assert source.ranges(PATH) == ["", ""]


def test_a_file_that_changed_meanwhile_is_not_mixed(download: Download, source: Source, clock: Clock) -> None:
    other = random.Random(8).randbytes(700_000)
    source.faults[PATH] = Fault(cut_after=400_000, times=1)

    def change(seconds: float) -> None:
        source.files[PATH] = other

    fetch([wanted(source, sha256(other))], replace(download, pause=change))
    assert got(download) == {"weights/model.bin": other}


def test_a_killed_download_goes_on_in_the_next_run(download: Download, source: Source, tmp_path: Path) -> None:
    source.faults[PATH] = Fault(hold_after=300_000, times=1)
    command = [sys.executable, "-m", "insource", "fetch", "--into", str(download.into), "--limit", "60"]
    command += ["--allow", "127.0.0.0/8", "--ca-dir", str(source.ca.parent)]
    source.ca.with_name("tls.key").rename(tmp_path / "tls.key")  # a folder of certificates, like the ConfigMap
    files = json.dumps([wanted(source).model_dump()])
    environment = {**os.environ, "INSOURCE_FETCH_FILES": files}
    first = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE)
    try:
        assert source.held.wait(60), first.communicate()[1]
        wait_until(lambda: bool(got(download).get("weights/model.bin.part")), [], "the first bytes", 60)
    finally:
        first.kill()
        first.communicate()
        (tmp_path / "tls.key").rename(source.ca.with_name("tls.key"))
    assert set(got(download)) == {"weights/model.bin.part", "weights/model.bin.part.note"}
    part = len(got(download)["weights/model.bin.part"])
    assert part > 0
    source.go_on.set()
    fetch([wanted(source)], download)
    assert got(download) == {"weights/model.bin": DATA}
    assert source.ranges(PATH)[-1] == f"bytes={part}-"


def test_replicas_that_share_a_volume_wait_for_each_other(download: Download, source: Source, clock: Clock) -> None:
    turns: list[float] = []
    with files_module.alone(download.into, lambda: None):
        with pytest.raises(DeliveryError, match="another replica has been downloading into the same volume for 30 s"):
            fetch([wanted(source)], replace(download, limit_s=30))
        turns = list(clock.pauses)
    assert set(turns) == {1.0}
    assert source.asked == []
    fetch([wanted(source)], download)
    assert got(download) == {"weights/model.bin": DATA}


def test_a_whole_part_that_was_never_renamed_is_not_fetched_again(download: Download, source: Source) -> None:
    fetch([wanted(source)], download)
    file = download.into / "weights/model.bin"
    part = files_module.Part(file, source.url(PATH))
    with part.begin(0, '"x"') as opened:
        part.add(opened, DATA)
    file.unlink()
    fetch([wanted(source)], download)
    assert got(download) == {"weights/model.bin": DATA}


def test_a_part_of_another_source_is_not_continued(download: Download, source: Source) -> None:
    part = files_module.Part(download.into / "weights/model.bin", source.url("/older/model.bin"))
    with part.begin(0, f'"{sha256(DATA)[:16]}"') as opened:
        part.add(opened, b"x" * 500_000)
    fetch([wanted(source, "")], download)
    assert got(download) == {"weights/model.bin": DATA}
    assert source.ranges(PATH) == [""]


def test_a_damaged_part_is_fetched_anew_once(download: Download, source: Source) -> None:
    part = files_module.Part(download.into / "weights/model.bin", source.url(PATH))
    with part.begin(0, f'"{sha256(DATA)[:16]}"') as opened:
        part.add(opened, b"x" * 500_000)
    fetch([wanted(source)], download)
    assert got(download) == {"weights/model.bin": DATA}
    assert source.ranges(PATH) == ["bytes=500000-", ""]


def test_a_wrong_checksum_says_expected_and_found_and_leaves_nothing(download: Download, source: Source) -> None:
    with pytest.raises(DeliveryError) as told:
        fetch([wanted(source, "0" * 64)], download)
    assert f"expected SHA-256 {'0' * 64}, found {sha256(DATA)}" in str(told.value)
    assert got(download) == {}
    assert len(source.asked) == 1


@pytest.mark.parametrize("status", [500, 503, 429, 408])
def test_a_source_in_trouble_is_asked_again(download: Download, source: Source, clock: Clock, status: int) -> None:
    source.faults[PATH] = Fault(status=status, times=3)
    fetch([wanted(source)], download)
    assert got(download) == {"weights/model.bin": DATA}
    assert len(clock.pauses) == 3
    assert clock.pauses[0] < clock.pauses[1] < clock.pauses[2]


def test_a_source_that_stays_in_trouble_is_given_up_with_its_words(download: Download, source: Source) -> None:
    source.faults[PATH] = Fault(status=503)
    with pytest.raises(DeliveryError, match=r"model.bin: .*HTTP 503 Service Unavailable \(6 times in a row\)"):
        fetch([wanted(source)], download)


@pytest.mark.parametrize(("status", "words"), [(404, "correct the CatalogModel"), (403, "sourceCredentials")])
def test_a_refusal_is_not_repeated(download: Download, source: Source, status: int, words: str) -> None:
    source.faults[PATH] = Fault(status=status)
    with pytest.raises(DeliveryError, match=words):
        fetch([wanted(source)], download)
    assert len(source.asked) == 1


def test_the_limit_is_told_with_what_has_come(download: Download, source: Source, clock: Clock) -> None:
    source.faults[PATH] = Fault(cut_after=300_000)
    with pytest.raises(DeliveryError, match=r"not here after 0.5 s, 293.0 KiB have come.*startupTimeout"):
        fetch([wanted(source)], replace(download, limit_s=0.5))
    assert "weights/model.bin.part" in got(download)


def test_a_source_that_falls_silent_is_asked_anew(
    download: Download, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "TIMEOUT_S", 0.5)
    source.faults[PATH] = Fault(hold_after=300_000, times=1)
    fetch([wanted(source)], download)
    assert got(download) == {"weights/model.bin": DATA}
    assert len(source.ranges(PATH)) == 2


def test_credentials_are_shown_to_the_source_only(download: Download, source: Source) -> None:
    source.credentials = "Bearer s3cret"
    source.faults[PATH] = Fault(status=302, location=source.url("/cdn/model.bin?sig=abc", host="localhost"))
    source.files["/cdn/model.bin"] = DATA
    with pytest.raises(DeliveryError, match="not allowed") as told:  # the other host wants them, and does not get them
        fetch([wanted(source)], replace(download, credentials=Credentials("hub", token="s3cret")))
    assert "s3cret" not in str(told.value)
    assert "sig=abc" not in str(told.value)
    source.credentials = ""
    fetch([wanted(source)], replace(download, credentials=Credentials("hub", token="s3cret")))
    shown = [(path, headers.get("authorization")) for path, headers in source.asked]
    assert shown == [(PATH, "Bearer s3cret"), ("/cdn/model.bin", None)] * 2


class Regional(Bucket):
    """Amazon's servers are one, with a folder for each region."""

    source: Source

    def address(self, url: str, query: str = "") -> str:
        return self.source.url(f"/{super().address(url, query).split('.')[2]}/model.bin")


@pytest.mark.parametrize("status", [301, 400])
def test_a_bucket_in_another_region_is_asked_there_and_only_once_more(
    download: Download, source: Source, status: int
) -> None:
    bucket = Regional("s3")
    bucket.source = source
    here, there = "/us-east-1/model.bin", "/eu-west-1/model.bin"
    source.files[there] = DATA
    source.faults[here] = Fault(status=status, region="eu-west-1")
    wanted_file = WantedFile(url="s3://models/model.bin", path="model.bin", sha256=sha256(DATA))
    fetch([wanted_file], replace(download, credentials=bucket))
    assert got(download) == {"model.bin": DATA}
    assert [path for path, _ in source.asked] == [here, there]
    source.faults[there] = Fault(status=status, region="us-east-1")  # each says that the other has it
    (download.into / "model.bin").unlink()
    with pytest.raises(DeliveryError, match="more than 8 redirects"):
        fetch([wanted_file], replace(download, credentials=bucket))


def test_a_user_and_a_password_are_shown_too(download: Download, source: Source) -> None:
    source.credentials = "Basic dTpw"
    fetch([wanted(source)], replace(download, credentials=Credentials("hub", username="u", password="p")))
    assert got(download) == {"weights/model.bin": DATA}


def test_a_refused_secret_is_named(download: Download, source: Source) -> None:
    source.credentials = "Bearer right"
    with pytest.raises(DeliveryError, match=r'HTTP 401 .*check Secret "hub"') as told:
        fetch([wanted(source)], replace(download, credentials=Credentials("hub", token="wrong-token")))
    assert "wrong-token" not in str(told.value)


def test_an_address_that_is_not_public_is_not_asked(download: Download, source: Source) -> None:
    inside = replace(download, reach=replace(download.reach, allowed=()))
    with pytest.raises(DeliveryError, match=r"127.0.0.1 is at 127.0.0.1, which is not a public address.*delivery-cidr"):
        fetch([wanted(source)], inside)
    assert source.asked == []


def test_a_redirect_to_an_address_inside_is_not_followed(download: Download, source: Source) -> None:
    source.faults[PATH] = Fault(status=302, location="https://169.254.169.254/latest/meta-data/")
    with pytest.raises(DeliveryError, match=r"169.254.169.254 is at 169.254.169.254"):
        fetch([wanted(source)], download)


@pytest.mark.parametrize("location", ["http://127.0.0.1/x", "file:///etc/passwd"])
def test_a_redirect_away_from_https_is_not_followed(download: Download, source: Source, location: str) -> None:
    source.faults[PATH] = Fault(status=302, location=location)
    with pytest.raises(DeliveryError, match="only https"):
        fetch([wanted(source)], download)


@pytest.mark.parametrize("location", ["https://[::1/x", "https://example.com:99999/x"])
def test_a_redirect_to_no_url_is_told(download: Download, source: Source, location: str) -> None:
    source.faults[PATH] = Fault(status=302, location=location)
    with pytest.raises(DeliveryError, match="redirects to what is no URL"):
        fetch([wanted(source)], download)


@pytest.mark.parametrize("host", ["a" * 64 + ".example", "a..b"])
def test_a_host_that_is_no_name_is_told(download: Download, source: Source, host: str) -> None:
    with pytest.raises(DeliveryError, match="is no name that can be looked up"):
        fetch([WantedFile(url=f"https://{host}/m.bin", path="m.bin")], download)


def test_a_folder_that_cannot_be_written_is_told(download: Download, source: Source, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DeliveryError, match=r"file/model: Not a directory"):
        fetch([wanted(source)], replace(download, into=tmp_path / "file" / "model"))


def test_redirects_in_a_circle_end(download: Download, source: Source) -> None:
    source.faults[PATH] = Fault(status=302, location=source.url(PATH))
    with pytest.raises(DeliveryError, match="more than 8 redirects"):
        fetch([wanted(source)], download)


def test_a_certificate_that_is_not_trusted_is_told(download: Download, source: Source) -> None:
    strict = replace(download, reach=replace(download.reach, tls=ssl.create_default_context()))
    with pytest.raises(DeliveryError, match=r"certificate is not trusted.*download-ca-config-map"):
        fetch([wanted(source)], strict)


def test_too_small_a_volume_is_told_before_anything_is_written(
    download: Download, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: type("Usage", (), {"free": 1000}))
    with pytest.raises(DeliveryError, match=r"model.bin: no room .*976.6 KiB more are needed, 1000 B are free"):
        fetch([wanted(source)], download)
    assert got(download) == {}


def test_a_volume_that_fills_up_is_told_and_given_back(
    download: Download, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(part: files_module.Part, file: Any, data: bytes) -> None:
        if part.size > 100_000:
            raise OSError(errno.ENOSPC, "No space left on device")
        add(part, file, data)

    add = files_module.Part.add
    monkeypatch.setattr(files_module.Part, "add", full)
    with pytest.raises(DeliveryError, match=r"model.bin: no room"):
        fetch([wanted(source)], download)
    assert got(download) == {}


def test_a_source_that_refuses_every_range_is_given_up(download: Download, source: Source, clock: Clock) -> None:
    """416, although the whole file is asked for."""
    source.faults[PATH] = Fault(status=416)
    with pytest.raises(DeliveryError, match=r"HTTP 416 .* in a row"):
        fetch([wanted(source)], download)
    assert len(source.asked) == len(clock.pauses) + 1, "it waits before it asks again"


def test_a_token_that_is_no_header_is_not_repeated(download: Download, source: Source) -> None:
    """With a line end in it: http.client would tell it in full."""
    keyed = replace(download, credentials=Credentials(secret="hub", token="hf_s3cret\nhf_another"))
    with pytest.raises(DeliveryError) as caught:
        fetch([wanted(source)], keyed)
    assert "Authorization" in str(caught.value)
    told = "".join(traceback.format_exception(caught.value))
    assert "s3cret" not in told
    assert source.asked == []
