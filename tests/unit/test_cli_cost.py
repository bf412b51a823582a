"""`insource cost`: the table, the JSON, and errors that say what to do."""

from __future__ import annotations

import fcntl
import io
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from rich.console import Console
from syrupy.assertion import SnapshotAssertion

from insource.cli.cost import LEAST_WIDTH, PLAIN_WIDTH, cost, print_cost, work_done
from insource.ledger.attempts import ChargeView
from insource.ledger.prices import PriceTable
from insource.ledger.report import CostQuery
from tests.unit.ledger_building import START_MS, price
from tests.unit.test_ledger_report import UNTIL_MS, attempt, report, spoken

TOKEN = "reader-token"


def full_report(by: Any = "backend") -> dict[str, Any]:
    return report(
        attempt("a"),
        attempt("b", outcome="server", measured={}, busy_ms=0),
        attempt("b", vendor=True, number=2, attempt_id="b.0.2", billed={"audio_ms": 60_000}),
        attempt("c", vendor=True, charges=(ChargeView("audio_ms", "measured", 60_000, None),)),
        attempt("d", outcome="unknown"),
        query=CostQuery(START_MS, UNTIL_MS, by=by),
    )


def mixed_report() -> dict[str, Any]:
    voices = PriceTable([price(15 * 10**9, model="tts-1", unit="characters", per=1_000_000)])
    tokens = (ChargeView("input_tokens", "billed", 900, 900_000), ChargeView("output_tokens", "billed", 100, None))
    return report(
        spoken("a", 30_000),
        spoken("b", 2_000, vendor=True, model="tts-1"),
        attempt(
            "c", vendor=True, deployment="writer", measured={"input_tokens": 800, "output_tokens": 90},
            billed={"input_tokens": 900, "output_tokens": 100}, charges=tokens,
        ),
        prices=voices,
    )  # fmt: skip


def printed(shown: dict[str, Any], width: int = PLAIN_WIDTH) -> str:
    file = io.StringIO()
    print_cost(Console(width=width, no_color=True, file=file), shown)
    return file.getvalue()


def test_work_in_other_units_than_audio(snapshot: SnapshotAssertion) -> None:
    assert printed(mixed_report()) == snapshot


def test_what_is_only_bought_is_compared_with_nothing() -> None:
    shown = printed(mixed_report())
    assert "voice/dictation: 30,000 characters in-house" in shown
    assert "voice/writer:" not in shown
    audio = full_report()
    audio["comparisons"][0] |= {"in_house_work": {"audio_ms": 0}, "in_house_cost": "0.000000000"}
    assert "in-house for" not in printed(audio)


def test_units_that_are_the_same_are_added_up_and_others_are_not() -> None:
    (total,) = (line for line in printed(mixed_report()).splitlines() if line.startswith("total"))
    assert "characters" not in total
    same = report(spoken("a", 30_000), spoken("b", 2_000, vendor=True, model="tts-1"))
    (total,) = (line for line in printed(same).splitlines() if line.startswith("total"))
    assert "32,000 characters" in total


@pytest.mark.parametrize("width", [40, 80, 118])
def test_names_words_and_amounts_stay_in_one_piece_where_it_is_narrow(width: int) -> None:
    name = "retrieval-bought-from-us"
    found = report(spoken("a", 30_000_000, deployment=name), spoken("b", 2_000, vendor=True, deployment=name))
    shown = printed(found, width=width)
    assert {name, "30,000,000", "characters", "0.190000"} <= set(shown.split())
    assert "…" not in shown
    assert max(len(line.rstrip()) for line in shown.partition(f"voice/{name}")[0].splitlines()) <= LEAST_WIDTH


def test_very_long_names_are_folded_and_not_cut() -> None:
    shown = printed(report(spoken("a", 30_000, deployment="q" * 63)), width=80)
    assert shown.partition("voice/")[0].count("q") == 63


def test_one_is_singular() -> None:
    assert work_done({"images": {"measured": 1}, "pixels": {"measured": 1_024}}) == "1 image, 1,024 pixels"


class Ledger:
    """A data directory of a running `up`, whose ledger answers what it is told."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.answer: tuple[int, Any] = (200, full_report())
        self.asked: list[tuple[str, str]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked.append((self.path, self.headers["Authorization"]))
                status, body = outer.answer
                self.send_response(status)
                self.end_headers()
                self.wfile.write(json.dumps(body).encode())

            def log_message(self, *arguments: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()
        url = f"http://127.0.0.1:{self.server.server_address[1]}"
        (data / "token").write_text(TOKEN + "\n")
        state = dict.fromkeys(("api_url", "gateway_url", "agent_url", "run_dir"), "")
        state |= {"pid": 1, "phase": "ready", "ledger_url": url, "ledger_reader_token_file": str(data / "token")}
        (data / "state.json").write_text(json.dumps(state))

    def close(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()

    def run(self, *arguments: str) -> Any:
        return CliRunner().invoke(cost, ["--data", str(self.data), *arguments])


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with (tmp_path / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        ledger = Ledger(tmp_path)
        yield ledger
        ledger.close()


@pytest.mark.parametrize("by", ["backend", "role", "day", "deployment"])
def test_the_table(ledger: Ledger, snapshot: SnapshotAssertion, by: str) -> None:
    ledger.answer = (200, full_report(by))
    result = ledger.run("--by", by)
    assert result.exit_code == 0
    assert "\x1b" not in result.output, "no colour when piped"
    assert result.output == snapshot
    assert ledger.asked == [(f"/v1/cost?by={by}", f"Bearer {TOKEN}")]


def test_json_is_the_report(ledger: Ledger) -> None:
    result = ledger.run("--json", "--namespace", "voice", "--since", "2026-11-23")
    assert json.loads(result.output) == full_report()
    assert ledger.asked[0][0] == "/v1/cost?namespace=voice&since=2026-11-23&by=backend"


def test_no_usage_yet_says_what_to_do(ledger: Ledger) -> None:
    ledger.answer = (200, report(pods=()))
    result = ledger.run()
    assert result.exit_code == 0
    assert "insource env" in result.output


def test_the_ledgers_refusal_is_shown(ledger: Ledger) -> None:
    ledger.answer = (400, {"error": {"message": "since must be a time"}})
    result = ledger.run("--since", "soon")
    assert result.exit_code == 1
    assert "since must be a time" in result.output
    assert TOKEN not in result.output


def test_a_ledger_that_is_not_there_names_its_log(ledger: Ledger) -> None:
    state = json.loads((ledger.data / "state.json").read_text())
    (ledger.data / "state.json").write_text(json.dumps(state | {"ledger_url": "http://127.0.0.1:1"}))
    result = ledger.run()
    assert result.exit_code == 1
    assert "ledger.log" in result.output


def test_no_cluster_says_how_to_start_one(tmp_path: Path) -> None:
    result = CliRunner().invoke(cost, ["--data", str(tmp_path)])
    assert result.exit_code == 1
    assert "insource up" in result.output
