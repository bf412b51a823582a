"""Buckets: `insource fetch` against moto's S3 over TLS, whose callers botocore judges."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import structlog

from insource.delivery.access import Refused
from insource.delivery.buckets import Bucket
from insource.delivery.fetch import fetch
from insource.delivery.problems import DeliveryError
from insource.delivery.secret import access_to
from insource.wire.delivery import Wanted, WantedFile, WantedTree
from tests.bucket_source import KEY, SECRET_KEY, SESSION, TOKEN, Buckets, buckets
from tests.downloads import Clock, download_into, reach_of
from tests.model_source import Fault, sha256

DATA = random.Random(7).randbytes(1_000_000)
ODD = "odd/a b+c&d=é%20~*'/(1).bin"


class WallClock(Clock):
    """The time of day is right, as signatures need it."""

    def now(self) -> datetime:
        return datetime.now(UTC)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Buckets]:
    with buckets(tmp_path_factory.mktemp("buckets")) as started:
        started.put("private", **{"model.bin": DATA})
        yield started


@pytest.fixture
def source(running: Buckets) -> Buckets:
    running.faults.clear()
    running.session, running.tokens = "", 0
    running.asked.clear()
    running.public = {"open"}
    return running


class Run:
    """Downloads as a pod would, with the keys of a Secret."""

    def __init__(self, folder: Path, source: Buckets) -> None:
        self.into, self.place, self.clock = folder / "model", folder / "secret", WallClock()
        self.reach = reach_of(source.ca)
        self.s3 = {"AWS_ENDPOINT_URL": source.url, "AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY}
        self.gs = {"STORAGE_EMULATOR_HOST": source.url}

    def __call__(self, *wanted: Wanted, **keys: str) -> dict[str, bytes]:
        self.place.mkdir(exist_ok=True)
        for old in self.place.iterdir():
            old.unlink()
        for name, value in keys.items():
            (self.place / name).write_text(value + "\n")
        access = access_to(wanted, self.place, "store", self.clock, self.reach)
        fetch(wanted, download_into(self.into, self.reach, self.clock, access))
        return self.got()

    def got(self) -> dict[str, bytes]:
        return {
            str(path.relative_to(self.into)): path.read_bytes()
            for path in self.into.rglob("*")
            if path.is_file() and path.name not in (".lock", ".listing.json")
        }


@pytest.fixture
def run(tmp_path: Path, source: Buckets) -> Run:
    return Run(tmp_path, source)


def model(url: str = "s3://private/model.bin", digest: str = sha256(DATA), **more: Any) -> WantedFile:
    return WantedFile(url=url, path="model.bin", sha256=digest, **more)


def test_an_object_of_a_private_bucket_is_fetched_once(run: Run, source: Buckets) -> None:
    assert run(model(), **run.s3) == {"model.bin": DATA}
    assert run(model(), **run.s3) == {"model.bin": DATA}
    assert source.asked == [("/private/model.bin", "")]


def test_a_session_token_is_signed_too(run: Run, source: Buckets) -> None:
    source.session = SESSION
    assert run(model(), AWS_SESSION_TOKEN=SESSION, AWS_REGION="eu-west-1", **run.s3) == {"model.bin": DATA}


def test_a_public_bucket_needs_no_keys(run: Run, source: Buckets) -> None:
    source.put("open", **{"model.bin": DATA})
    assert run(model("s3://open/model.bin"), AWS_ENDPOINT_URL_S3=source.url) == {"model.bin": DATA}


def test_a_cut_connection_goes_on_where_it_was(run: Run, source: Buckets) -> None:
    source.faults["/private/model.bin"] = Fault(cut_after=400_000, times=2)
    assert run(model(), **run.s3) == {"model.bin": DATA}
    ranges = [asked for _, asked in source.asked]
    assert ranges == ["", "bytes=400000-", "bytes=800000-"]


def test_an_object_that_changed_meanwhile_is_not_mixed(run: Run, source: Buckets, monkeypatch: Any) -> None:
    """A store that does not know If-Range: moto sends the rest of the new object."""
    other = random.Random(8).randbytes(len(DATA))
    source.put("changed", **{"model.bin": DATA})
    source.faults["/changed/model.bin"] = Fault(cut_after=400_000, times=1)
    monkeypatch.setattr(run.clock, "pause", lambda _: source.put("changed", **{"model.bin": other}))
    assert run(model("s3://changed/model.bin", ""), **run.s3) == {"model.bin": other}
    assert [asked for _, asked in source.asked] == ["bytes=400000-", ""]


def test_a_store_in_trouble_is_asked_again_and_signed_anew(run: Run, source: Buckets) -> None:
    source.faults["/private/model.bin"] = Fault(status=503, times=3)
    assert run(model(), **run.s3) == {"model.bin": DATA}
    assert len(run.clock.pauses) == 3


def test_a_wrong_checksum_leaves_nothing(run: Run) -> None:
    with pytest.raises(
        DeliveryError, match=f"expected SHA-256 {'0' * 64}, found {sha256(DATA)} at s3://private/model.bin"
    ):
        run(model(digest="0" * 64), **run.s3)
    assert run.got() == {}


def test_one_version_of_an_object(run: Run, source: Buckets) -> None:
    first, _ = source.put_all("private", {"v.bin": b"first"}) + source.put_all("private", {"v.bin": b"second"})
    assert run(model("s3://private/v.bin", "", version=first), **run.s3) == {"model.bin": b"first"}


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"AWS_ACCESS_KEY_ID": "other"}, r'InvalidAccessKeyId\).*nobody has the AWS_ACCESS_KEY_ID of Secret "store"'),
        ({"AWS_SECRET_ACCESS_KEY": "wr0ng"}, r'AWS_SECRET_ACCESS_KEY in Secret "store" does not belong to its AWS_ACC'),
        ({"AWS_SESSION_TOKEN": "0ld"}, r'AWS_SESSION_TOKEN in Secret "store" has run out'),
        ({"AWS_SECRET_ACCESS_KEY": ""}, r'Secret "store": it has no key `AWS_SECRET_ACCESS_KEY`; add it'),
        (
            {"AWS_ENDPOINT_URL": "http://u:p4ss@minio:9000"},
            r'Secret "store": key `AWS_ENDPOINT_URL` is not https://host',
        ),
        ({"AWS_ENDPOINT_URL": "https://u:p4ss@minio"}, r'Secret "store": key `AWS_ENDPOINT_URL` is not https://host'),
        (
            {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""},
            r'HTTP 403.*credentials in Secret "store" may not read',
        ),
        (
            {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "AWS_ENDPOINT_URL": ""},
            r'Secret "store": there is no such Secret, or it has neither the keys `AWS_ACCESS_KEY_ID`',
        ),
    ],
)
def test_what_is_wrong_with_the_secret_is_told_by_its_key(run: Run, keys: dict[str, str], words: str) -> None:
    with structlog.testing.capture_logs() as logged, pytest.raises(DeliveryError, match=words) as told:
        run(model(), **{**run.s3, **keys})
    said = str(told.value) + str(logged)
    assert not any(secret in said for secret in (SECRET_KEY, "wr0ng", "0ld", "p4ss"))
    assert run.got() == {}


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("s3://private/none.bin", r"s3://private/none.bin: HTTP 404 .*\(NoSuchKey\); there is no such object"),
        ("s3://nowhere/model.bin", r"s3://nowhere/model.bin: HTTP 404 .*\(NoSuchBucket\); there is no such bucket"),
    ],
)
def test_what_is_not_there_is_named(run: Run, url: str, words: str) -> None:
    with pytest.raises(DeliveryError, match=words):
        run(model(url, ""), **run.s3)


def test_an_address_inside_is_not_asked(run: Run, source: Buckets) -> None:
    run.reach = replace(run.reach, allowed=())
    with pytest.raises(DeliveryError, match="which is not a public address"):
        run(model(), **run.s3)
    assert source.asked == []


def test_a_folder_is_fetched_whole_page_by_page(run: Run, source: Buckets, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOTO_S3_DEFAULT_MAX_KEYS", "2")
    objects = {f"m/{name}": name.encode() for name in ("a.bin", "b/c.bin", "b/d.json", ODD, "z")}
    source.put_all("folder", {**objects, "m/": b"", "m/empty/": b"", "other": b"not wanted", "mm": b"neither"})
    tree = WantedTree(tree="s3://folder/m/")
    assert run(tree, **run.s3) == {key.removeprefix("m/"): body for key, body in objects.items()}
    lists = [asked for asked, _ in source.asked if "list-type" in asked]
    assert len(lists) >= 3
    source.asked.clear()
    run(tree, **run.s3)
    assert source.asked == []  # what is there needs no source


def test_a_folder_that_lost_a_file_is_listed_anew(run: Run, source: Buckets) -> None:
    source.put_all("changing", {"m/a": b"a", "m/b": b"b"})
    tree = WantedTree(tree="s3://changing/m/")
    assert run(tree, **run.s3) == {"a": b"a", "b": b"b"}
    source.put_all("changing", {"m/b": b"longer", "m/c": b"c"})
    (run.into / "b").unlink()
    assert run(tree, **run.s3) == {"a": b"a", "b": b"longer", "c": b"c"}


@pytest.mark.parametrize("key", ["m/../../x", "m/./x", "m//x", "m/.lock", "m/.listing.json"])
def test_a_key_that_would_leave_its_folder_is_refused(run: Run, source: Buckets, key: str) -> None:
    source.put_all("evil", {key: b"x"})
    prefix = key if key.endswith(("lock", "json")) else "m/"
    tree = WantedTree(tree=f"s3://evil/{prefix.rpartition('/')[0]}/")
    with pytest.raises(DeliveryError, match="cannot be kept here"):
        run(tree, **run.s3)
    assert run.got() == {}


def test_an_empty_folder_is_told(run: Run) -> None:
    with pytest.raises(DeliveryError, match="s3://private/none/: there is no file in it"):
        run(WantedTree(tree="s3://private/none/"), **run.s3)


def test_google_by_a_service_account(run: Run, source: Buckets) -> None:
    source.put_all("private", {"g/a": b"a", "g/b": b"b"})
    found = run(WantedTree(tree="gs://private/g/"), GOOGLE_APPLICATION_CREDENTIALS=source.service_account(), **run.gs)
    assert found == {"a": b"a", "b": b"b"}
    assert source.tokens == 1


def test_google_by_hmac_keys(run: Run) -> None:
    keys = {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY}
    assert run(model("gs://private/model.bin"), **keys, **run.gs) == {"model.bin": DATA}


def test_google_public(run: Run, source: Buckets) -> None:
    source.put("open", **{"model.bin": DATA})
    assert run(model("gs://open/model.bin"), **run.gs) == {"model.bin": DATA}


def test_a_service_account_that_google_does_not_know_is_told(run: Run, source: Buckets) -> None:
    account = source.service_account(token_uri=f"{source.url}/token?x")  # the audience is another one
    with pytest.raises(
        DeliveryError, match=r'gives no token to models@.*invalid_grant.*GOOGLE_.* in Secret "store"'
    ) as told:
        run(model("gs://private/model.bin"), GOOGLE_APPLICATION_CREDENTIALS=account, **run.gs)
    assert "PRIVATE KEY" not in str(told.value)
    assert TOKEN not in str(told.value)


@pytest.mark.parametrize("text", ["{}", "no json", '{"client_email": "a", "private_key": "s3cret", "token_uri": ""}'])
def test_what_is_no_service_account_is_told(run: Run, text: str) -> None:
    with pytest.raises(DeliveryError, match="GOOGLE_APPLICATION_CREDENTIALS is not the JSON of a service") as told:
        run(model("gs://private/model.bin"), GOOGLE_APPLICATION_CREDENTIALS=text, **run.gs)
    assert "s3cret" not in str(told.value)


@pytest.mark.parametrize(
    ("region", "url", "address"),
    [
        ("", "s3://models/a/b c.bin", "https://models.s3.us-east-1.amazonaws.com/a/b%20c.bin"),
        ("eu-west-1", "s3://my.models/a", "https://s3.eu-west-1.amazonaws.com/my.models/a"),
        ("cn-north-1", "s3://models/a", "https://models.s3.cn-north-1.amazonaws.com.cn/a"),
    ],
)
def test_amazons_own_are_asked_at_their_region(region: str, url: str, address: str) -> None:
    assert Bucket("s3", region=region).address(url) == address


def test_a_bucket_elsewhere_is_asked_where_it_is() -> None:
    bucket = Bucket("s3")
    refused = Refused(301, "Moved Permanently", "eu-central-1", "PermanentRedirect")
    assert bucket.moved(refused)
    assert bucket.address("s3://models/a") == "https://models.s3.eu-central-1.amazonaws.com/a"
    assert not bucket.moved(refused)
    assert not bucket.moved(Refused(301, "", "evil.example/", ""))
    assert not Bucket("s3", endpoint="https://minio").moved(refused)


def test_google_is_asked_at_its_own_address() -> None:
    assert Bucket("gs").address("gs://models/a", "x=1") == "https://storage.googleapis.com/models/a?x=1"
