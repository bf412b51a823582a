"""`insource catalog`: entries, prices and places; tables and JSON; and errors that say what to do."""

from __future__ import annotations

import copy
import io
import json
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from rich.console import Console
from syrupy.assertion import SnapshotAssertion

from insource.api.catalog_model import Lifecycle
from insource.api.catalogue import builtin_objects
from insource.cli import catalog as command
from insource.cli.catalog_entries import Catalogue, Entry, as_json, break_even, nearest, read_catalogue, stage_on
from insource.cli.main import cli
from insource.kube.client import ApiError

NOW = datetime(2026, 11, 29, 18, 0, tzinfo=UTC)


def catalogue(*changed: dict[str, Any], now: datetime = NOW) -> Catalogue:
    """The shipped one, with objects added, or put in the place of those of their name."""
    objects = {(obj["kind"], obj["metadata"]["name"]): obj for obj in builtin_objects()}
    objects.update({(obj["kind"], obj["metadata"]["name"]): obj for obj in changed})
    return read_catalogue(objects.values(), now)


def entry(name: str, *changed: dict[str, Any], now: datetime = NOW) -> Entry:
    return next(item for item in catalogue(*changed, now=now).entries if item.name == name)


def shipped(kind: str, name: str) -> dict[str, Any]:
    return copy.deepcopy(
        next(obj for obj in builtin_objects() if (obj["kind"], obj["metadata"]["name"]) == (kind, name))
    )


def offers(found: Entry) -> dict[str, list[tuple[int, str]]]:
    return {f"{o.vendor}/{o.model}": [(price.nano, price.per) for price in o.prices] for o in found.offers}


def test_a_price_is_that_of_the_day_by_the_ledgers_rules() -> None:
    book = shipped("PriceBook", "default")
    cheaper = {**book["spec"]["entries"][0], "effectiveFrom": "2026-12-01", "price": "0.12"}
    book["spec"]["entries"].append(cheaper)
    before = offers(entry("whisper-tiny-en", book))["openai/whisper-1"]
    after = offers(entry("whisper-tiny-en", book, now=datetime(2026, 12, 1, tzinfo=UTC)))["openai/whisper-1"]
    assert (before, after) == ([(360_000_000, "audio hour")], [(120_000_000, "audio hour")])


def test_a_book_of_the_users_own_wins_where_it_is_later_and_one_in_another_currency_is_told() -> None:
    own = {
        "kind": "PriceBook",
        "metadata": {"name": "contract"},
        "spec": {
            "currency": "USD",
            "entries": [
                {"vendor": "openai", "model": "whisper-1", "unit": "audio_ms", "effectiveFrom": "2026-06-01",
                 "price": "0.30", "per": 3_600_000, "source": "our contract"},
            ],
        },
    }  # fmt: skip
    assert offers(entry("whisper-tiny-en", own))["openai/whisper-1"] == [(300_000_000, "audio hour")]
    own["spec"]["currency"] = "EUR"
    found = catalogue(own)
    assert "EUR" in found.problems[0]
    assert offers(entry("whisper-tiny-en", own))["openai/whisper-1"] == [(360_000_000, "audio hour")]


def test_what_no_book_prices_is_unpriced_and_never_free() -> None:
    model = shipped("CatalogModel", "whisper-tiny-en")
    model["spec"]["vendorEquivalents"] = [{"vendor": "acme", "model": "m"}]
    found = entry("whisper-tiny-en", model)
    assert offers(found) == {"acme/m": []}
    assert "unpriced" in text(command.render_list([found], "USD"))
    assert as_json(found)["substitutes"][0]["prices"] == []


def test_a_model_runs_where_a_profile_says_and_where_one_accelerator_has_room_for_it() -> None:
    places = [(place.runtime, place.class_) for place in entry("qwen-image").places]
    assert places == [("vllm-omni", "nvidia-h100"), ("sglang-diffusion", "nvidia-h100")]
    assert [place.class_ for place in entry("whisper-tiny-en").places] == ["cpu"]
    assert entry("mai-voice-2").places == ()


def test_a_model_too_large_for_one_of_any_class_is_listed_with_its_runtime() -> None:
    model = shipped("CatalogModel", "qwen3-8b")
    model["spec"]["requirements"] = {"memoryGiB": 81}
    assert entry("qwen3-8b", model).places == ()
    assert command.runs_on(entry("qwen3-8b", model)) == "by vllm"


def test_a_place_breaks_even_by_the_unit() -> None:
    (place,) = [p for p in entry("whisper-large-v3-turbo").places if (p.runtime, p.class_) == ("speaches", "nvidia-l4")]
    whisper = next(o for o in entry("whisper-large-v3-turbo").offers if o.model == "whisper-1")
    even = break_even(place, whisper.prices[0])
    assert place.hour_nano == 804_800_000
    assert even is not None
    assert f"{even:.4f}" == "2.2356"


@pytest.mark.parametrize(
    ("lifecycle", "stage"),
    [
        (None, "Available"),
        (Lifecycle(), "Available"),
        (Lifecycle(stage="Preview"), "Preview"),
        (Lifecycle(stage="Preview", deprecated_on="2026-11-30"), "Preview"),
        (Lifecycle(stage="Preview", deprecated_on="2026-11-29"), "Deprecated"),
        (Lifecycle(deprecated_on="2026-01-01", shutdown_on="2026-11-29"), "Retired"),
        (Lifecycle(stage="Retired", deprecated_on="2026-01-01"), "Retired"),
        (Lifecycle(deprecated_on="2026-02-31"), "Deprecated"),
    ],
)
def test_a_date_that_has_come_overrules_the_stage(lifecycle: Lifecycle | None, stage: str) -> None:
    assert stage_on(lifecycle, date(2026, 11, 29)) == stage


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("whisper", ("whisper-large-v3-turbo", "whisper-tiny-en")),
        ("kokoro82m", ("kokoro-82m",)),
        ("MAI-Transcribe-1", ("mai-transcribe-1", "mai-transcribe-1-5")),
        ("mai-transcrib-3", ("mai-transcribe-2", "mai-transcribe-1", "mai-transcribe-1-5")),
        ("zzzzzz", ()),
        ("", ()),
    ],
)
def test_the_nearest_names(name: str, meant: tuple[str, ...]) -> None:
    assert nearest(name, [item.name for item in catalogue().entries]) == meant


def test_an_object_that_does_not_fit_is_left_out_and_told() -> None:
    broken = {"kind": "CatalogModel", "metadata": {"name": "broken"}, "spec": {"modality": "Smell"}}
    found = catalogue(broken)
    assert "broken" not in {item.name for item in found.entries}
    assert "'broken': spec.modality" in found.problems[0]


def text(renderable: Any, *, terminal: bool = False) -> str:
    console = Console(file=io.StringIO(), force_terminal=terminal, width=200, no_color=not terminal)
    console.print(renderable)
    output: str = console.file.getvalue()  # type: ignore[attr-defined]
    return output


class Cluster:
    """Answers instead of an API server."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.answer: list[dict[str, Any]] | ApiError = builtin_objects()
        self.asked: list[tuple[str | None, str | None]] = []

        async def objects(kubeconfig: str | None, context: str | None) -> list[dict[str, Any]]:
            self.asked.append((kubeconfig, context))
            if isinstance(self.answer, ApiError):
                raise self.answer
            return self.answer

        class Clock:
            clock: Any = type("Fixed", (), {"now": staticmethod(lambda: NOW)})()

        monkeypatch.setattr(command, "_objects", objects)
        monkeypatch.setattr(command, "system_env", Clock)
        monkeypatch.delenv("KUBECONFIG", raising=False)
        monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)

    def run(self, *arguments: str) -> Any:
        return CliRunner().invoke(cli, ["catalog", *arguments])


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Cluster:
    monkeypatch.chdir(tmp_path)
    return Cluster(monkeypatch)


def test_the_list(cluster: Cluster, snapshot: SnapshotAssertion) -> None:
    result = cluster.run()
    assert result.exit_code == 0, result.output
    assert "\x1b" not in result.output, "no colour when piped"
    assert result.output == snapshot


@pytest.mark.parametrize("modality", ["Transcription", "speech"])
def test_one_modality(cluster: Cluster, snapshot: SnapshotAssertion, modality: str) -> None:
    assert cluster.run("--modality", modality).output == snapshot


@pytest.mark.parametrize(
    "name", ["whisper-large-v3-turbo", "mai-voice-1", "mai-voice-2", "qwen3-8b", "gemma3-270m-it-q8"]
)
def test_one_model(cluster: Cluster, snapshot: SnapshotAssertion, name: str) -> None:
    result = cluster.run("show", name)
    assert result.exit_code == 0, result.output
    assert result.output == snapshot


def test_json_has_amounts_as_text(cluster: Cluster, snapshot: SnapshotAssertion) -> None:
    assert len(json.loads(cluster.run("--json").output)) == len(catalogue().entries)
    assert json.loads(cluster.run("show", "kokoro-82m", "--json").output) == snapshot


def test_a_terminal_gets_colours() -> None:
    assert "\x1b[" in text(command.render_list(catalogue().entries, "USD"), terminal=True)


def test_an_unknown_name_names_the_nearest(cluster: Cluster) -> None:
    result = cluster.run("show", "whisper-large")
    assert result.exit_code == 1
    assert 'there is no CatalogModel "whisper-large": did you mean whisper-large-v3-turbo?' in result.output
    result = cluster.run("show", "qqqqqqqq")
    assert "`insource catalog` lists them all" in result.output


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ApiError(403, "Forbidden", "catalogmodels is forbidden"), "ask for get and list on catalogmodels, inference"),
        (ApiError(404, "NotFound", "the server could not find it"), "is Insource installed there"),
        (ApiError(0, "Unreachable", "kubeconfig (default): no such file"), "--kubeconfig"),
    ],
)
def test_errors_say_the_next_step(cluster: Cluster, error: ApiError, words: str) -> None:
    cluster.answer = error
    for arguments in ((), ("show", "kokoro-82m")):
        result = cluster.run(*arguments)
        assert result.exit_code == 1
        assert words in result.output


def test_an_empty_catalogue_and_an_option_before_the_command_are_told(cluster: Cluster) -> None:
    result = cluster.run("--json", "show", "kokoro-82m")
    assert result.exit_code == 2
    assert "options go behind: insource catalog show MODEL --option" in result.output
    cluster.answer = []
    assert "the operator applies the built-in ones when it starts" in cluster.run().output
    assert json.loads(cluster.run("--json").output) == []


def test_what_is_left_out_is_told_beside_the_data(cluster: Cluster) -> None:
    broken = {"kind": "CatalogModel", "metadata": {"name": "broken"}, "spec": {"modality": "Smell"}}
    cluster.answer = [*builtin_objects(), broken]
    result = cluster.run("--json")
    assert "left out: CatalogModel 'broken'" in result.stderr
    assert json.loads(result.stdout)


def test_which_cluster_is_asked(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster.run()
    cluster.run("--kubeconfig", "mine", "--context", "staging")
    monkeypatch.setenv("KUBECONFIG", "theirs")
    cluster.run()
    assert cluster.asked == [(None, None), ("mine", "staging"), (None, None)]
