"""`python -m tests.fuzz.run [SECONDS] [TARGET...]`: each target by atheris, guided by coverage; keeps what adds to it.

A target runs in a process of its own, from its corpus and seeds. The fewest inputs that reach all that was reached are
then `tests/fuzz/corpus/<target>`, where the tests replay them. An input that fails stays in `.insource/fuzz/<target>`,
and is named; put it into the corpus as `mended-<hash>` when it is. Needs atheris (`make fuzz` sees to it).
"""

from __future__ import annotations

import hashlib
import importlib
import os
import shutil
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

from tests.fuzz.seeds import SEEDS

ROOT = Path(__file__).resolve().parents[2]
CORPUS = ROOT / "tests" / "fuzz" / "corpus"
WORK = ROOT / ".insource" / "fuzz"
LONGEST_BYTES = 4096
MENDED = "mended-"
"""What a file is called that once failed, before its hash: it stays, whatever else reaches the same code."""
DICTIONARY = Path(__file__).resolve().parent / "words.dict"
INSTRUMENTED = [
    "insource.adapter",
    "insource.emulator",
    "insource.servers.requests",
    "aiohttp.multipart",
    "werkzeug.sansio",
    "tests.fuzz",
]


def main() -> None:
    """All targets, or those named."""
    arguments = sys.argv[1:]
    if arguments[:1] == ["--child"]:
        _fuzz(arguments[1], arguments[2:])
        return
    seconds = int(arguments[0]) if arguments else 60
    failed = [name for name in arguments[1:] or list(SEEDS) if not _run(name, seconds)]
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


def _run(name: str, seconds: int) -> bool:
    """Fuzz one and keep what is new. Whether nothing failed."""
    found, kept = WORK / name / "found", CORPUS / name
    for folder in (found, kept):
        folder.mkdir(parents=True, exist_ok=True)
    # Note: to merge, libFuzzer calls its own program again, by the shell.
    again = _again(name)
    again.write_text(f'#!/bin/sh\nexec {sys.executable} -m tests.fuzz.run --child {name} "$@"\n')
    again.chmod(0o755)
    for seed in SEEDS[name]:
        (found / hashlib.sha1(seed).hexdigest()).write_bytes(seed)
    print(f"{name}: {seconds} s", flush=True)
    ended = _child(name, f"-max_total_time={seconds}", f"-artifact_prefix={WORK / name}/", str(found), str(kept))
    if ended:
        print(f"{name}: an input fails, in {WORK / name}", flush=True)
        return False
    merged = WORK / name / "merged"
    shutil.rmtree(merged, ignore_errors=True)
    merged.mkdir()
    if _child(name, "-set_cover_merge=1", str(merged), str(kept), str(found)):
        print(f"{name}: could not be merged, the corpus stays", flush=True)
        return False
    for path in kept.iterdir():
        if not path.name.startswith(MENDED):
            path.unlink()
    for path in merged.iterdir():
        shutil.copyfile(path, kept / path.name)
    print(f"{name}: {len(list(kept.iterdir()))} inputs kept", flush=True)
    return True


def _again(name: str) -> Path:
    return WORK / name / "again"


def _child(name: str, *options: str) -> int:
    command = [sys.executable, "-m", "tests.fuzz.run", "--child", name, f"-max_len={LONGEST_BYTES}", "-timeout=60"]
    log = WORK / name / "log"
    with log.open("ab") as file:
        ended = subprocess.run(
            [*command, f"-dict={DICTIONARY}", *options], cwd=ROOT, env=dict(os.environ), stderr=file, check=False
        )
    if ended.returncode:
        print(log.read_text(errors="replace")[-3000:], flush=True)
    return ended.returncode


def _fuzz(name: str, options: list[str]) -> None:
    # Note: nothing of what is instrumented may have been imported before.
    atheris: Any = importlib.import_module("atheris")
    # Note: not its hook "RegEx", whose patterns have not all of the methods that werkzeug calls.
    atheris.enabled_hooks.add("str")
    with atheris.instrument_imports(include=INSTRUMENTED):
        targets = importlib.import_module("tests.fuzz.targets").TARGETS
    warnings.simplefilter("ignore")
    atheris.Setup([str(_again(name)), *options], targets[name])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
