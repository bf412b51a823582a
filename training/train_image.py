"""`make train-image`: `flow-32` from its seed to the committed weights, judged before they are written.

The parameters are kept under `.insource/training/`; with `--export`, those of the last training are judged and written
again without training.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import time
from dataclasses import asdict
from importlib.metadata import version
from typing import Any

import numpy as np

from insource.servers.flow_sampling import FOLDER, PROVENANCE, STEPS, WEIGHTS, FlowModel
from training.classifier import load
from training.contact_sheet import write_sheet
from training.evaluation import drawings, judge, sampled
from training.flow_export import Arrays, flow_model
from training.flow_network import predict
from training.flow_training import Recipe, train
from training.provenance import ROOT, recipe_sha256
from training.train_classifier import FILE as CLASSIFIER

KEPT = ROOT / ".insource" / "training"
WHAT = "flow-32: a toy of 32x32 pixels, trained by Insource's repository; not a general text-to-image model"
LEAST_SHAPES = 0.60
"""Weights that are recognised less often (at the middle quality) are not written."""
MOST_DIFFERENCE = 1e-4
"""Between JAX and ONNX Runtime, of values in -1..1."""


def main() -> None:
    """Train, export, judge, write. Exit status 1 if the pictures are not good enough."""
    flags = argparse.ArgumentParser(description=__doc__)
    flags.add_argument("--export", action="store_true", help="Do not train: take the parameters of the last training.")
    recipe = Recipe()
    if not flags.parse_args().export:
        _train(recipe)
    with np.load(KEPT / "flow-32.npz") as stored:
        parameters = {name: stored[name] for name in stored.files}
    content = flow_model(parameters, WHAT).SerializeToString()
    model = FlowModel(content)
    _compare(parameters, model)
    asked, weights = drawings(), load(CLASSIFIER)
    drawn = {quality: sampled(model, asked, steps, seed=1) for quality, steps in STEPS.items()}
    figures = {quality: asdict(judge(pictures, asked, weights)) for quality, pictures in drawn.items()}
    print(json.dumps(figures))
    if figures["medium"]["shapes"] < LEAST_SHAPES:
        raise SystemExit(f"only {figures['medium']['shapes']:.0%} of the shapes are recognised: nothing is written")
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / WEIGHTS).write_bytes(content)
    told = {
        "what": WHAT,
        "sha256": hashlib.sha256(content).hexdigest(),
        "bytes": len(content),
        "parameters": sum(values.size for values in parameters.values()),
        "recipe": recipe.described(),
        "recipe_sha256": recipe_sha256(),
        "training": json.loads((KEPT / "flow-32.json").read_text()),
        "adherence_of_48_prompts": figures,
        "classifier_sha256": hashlib.sha256(CLASSIFIER.read_bytes()).hexdigest(),
        "versions": {name: version(name) for name in ("jax", "optax", "numpy", "onnx", "onnxruntime", "pillow")},
    }
    (FOLDER / PROVENANCE).write_text(json.dumps(told, indent=2) + "\n")
    write_sheet(model)
    print(f"{WEIGHTS}: {len(content)} bytes, SHA-256 {told['sha256']}; put it into the catalogue's entry")


def _train(recipe: Recipe) -> None:
    KEPT.mkdir(parents=True, exist_ok=True)
    began, processor = time.perf_counter(), time.process_time()
    parameters, figures = train(recipe, lambda text: print(text, flush=True))
    stored: dict[str, Any] = {name: np.asarray(values) for name, values in parameters.items()}
    np.savez(KEPT / "flow-32.npz", **stored)
    measured: dict[str, Any] = {
        **figures,
        "wall_s": round(time.perf_counter() - began, 1),
        "processor_s": round(time.process_time() - processor, 1),
        "processors": os.cpu_count(),
    }
    (KEPT / "flow-32.json").write_text(json.dumps(measured) + "\n")


def _compare(parameters: Arrays, model: FlowModel) -> None:
    """The exported network must say what the trained one says, its weights rounded alike."""
    rounded = {name: values.astype(np.float16).astype(np.float32) for name, values in parameters.items()}
    rng = np.random.default_rng(0)
    x = rng.standard_normal((4, 3, 32, 32), dtype=np.float32)
    condition = np.array([[1, 1, 1, 2], [0, 0, 0, 0], [8, 2, 10, 9], [3, 0, 4, 0]])
    for t in (0.0, 0.5, 0.95):
        ours = np.asarray(predict(rounded, x.transpose(0, 2, 3, 1), np.full(4, t, np.float32), condition))
        difference = float(np.abs(ours.transpose(0, 3, 1, 2) - model.predict(x, t, condition)).max())
        if difference > MOST_DIFFERENCE:
            raise SystemExit(f"the exported network differs by {difference:g} at t = {t}")


if __name__ == "__main__":
    main()
