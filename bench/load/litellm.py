"""LiteLLM, the peer: installed once from `requirements/bench.txt` into a virtual environment of its own."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from bench.load.processes import CACHE, UnavailableError

REQUIREMENTS = Path(__file__).resolve().parents[2] / "requirements" / "bench.txt"
KEY = "sk-litellm-bench"


def installed() -> Path:
    """The environment's folder; made on first use, which needs a package registry. Raises `UnavailableError`."""
    folder = CACHE / f"litellm-{hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()[:12]}"
    if (folder / ".ready").exists():
        return folder
    python = folder / "bin" / "python"
    beside = Path(sys.executable).parent / "uv"
    uv = str(beside) if beside.exists() else shutil.which("uv")
    try:
        if uv:
            subprocess.run([uv, "venv", "-q", "--allow-existing", "--python", sys.executable, str(folder)], check=True)
            environment = {**os.environ, "VIRTUAL_ENV": str(folder)}
            subprocess.run([uv, "pip", "sync", "-q", str(REQUIREMENTS)], check=True, env=environment)
        else:
            subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
            command = [str(python), "-m", "pip", "install", "-q", "--require-hashes", "-r", str(REQUIREMENTS)]
            subprocess.run(command, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise UnavailableError(f"LiteLLM could not be installed ({error}); its figures are left out") from error
    (folder / ".ready").touch()
    return folder


def command(folder: Path, state: Path, port: int, backend_port: int) -> list[str]:
    """How to start it in front of the backend, one worker, no database."""
    model = {
        "model_name": "bench",
        "litellm_params": {
            "model": "openai/whisper-1",
            "api_base": f"http://127.0.0.1:{backend_port}/v1",
            "api_key": "none",
        },
        "model_info": {"mode": "audio_transcription"},
    }
    config = {
        "model_list": [model],
        "general_settings": {"master_key": KEY},
        "litellm_settings": {"telemetry": False, "num_retries": 0},
    }
    path = state / "litellm.yaml"
    path.write_text(json.dumps(config))  # JSON is YAML
    return [
        *(str(folder / "bin" / "litellm"), "--config", str(path), "--host", "127.0.0.1"),
        *("--port", str(port), "--num_workers", "1", "--telemetry", "False"),
    ]


def environment() -> dict[str, str]:
    """No call home: no price map, no telemetry."""
    return {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_TELEMETRY": "False", "DISABLE_ADMIN_UI": "True"}
