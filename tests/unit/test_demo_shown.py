"""What the demo draws with characters: the loudness of speech, and pictures in half blocks."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from insource.cli.demo.image import side_by_side
from insource.cli.demo.speech import pcm_of, save_wav, waveform
from insource.cli.demo.text import dot


def test_silence_and_no_sound_are_blank() -> None:
    assert waveform(np.zeros(1000, dtype=np.int16), 10) == [" " * 10] * 2
    assert waveform(np.zeros(0, dtype=np.int16), 10) == [" " * 10] * 2


def test_the_loudest_column_is_the_highest_and_half_as_loud_half_as_high() -> None:
    samples = np.repeat(np.array([0, 8000, 16000], dtype=np.int16), 100)
    assert waveform(samples, 3) == ["  █", " ██"]
    assert waveform(samples, 3, rows=1) == [" ▄█"]


def test_fewer_samples_than_columns() -> None:
    assert [len(line) for line in waveform(np.array([1, 2], dtype=np.int16), 8)] == [8, 8]


def test_a_wav_whose_header_gives_no_length_has_all_its_samples(tmp_path: Path) -> None:
    samples = np.arange(480, dtype=np.int16)
    path = tmp_path / "a.wav"
    save_wav(str(path), samples, 24000)
    content = bytearray(path.read_bytes())
    content[4:8] = content[40:44] = b"\xff" * 4
    found, rate = pcm_of(bytes(content))
    assert rate == 24000
    assert found.tolist() == samples.tolist()


def test_pictures_stand_side_by_side_in_half_blocks() -> None:
    red, blue = (np.full((2, 2, 3), colour, dtype=np.uint8) for colour in ((255, 0, 0), (0, 0, 255)))
    red[1] = 0
    drawn = side_by_side([red, blue])
    assert drawn.plain == "▀▀  ▀▀  "
    assert [str(span.style) for span in drawn.spans] == ["#ff0000 on #000000"] * 2 + ["#0000ff on #0000ff"] * 2


def test_dot() -> None:
    assert dot([1.0, 2.0], [3.0, 4.0]) == 11.0
