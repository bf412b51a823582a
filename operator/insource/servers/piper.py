"""The Piper server: real English speech on CPUs, by a Piper voice on onnxruntime and a front end of our own.

Text becomes sentences (`sentences`), these phonemes (`phonemes`: espeak-ng in a process of its own), these numbers
(`piper_voice`), and these samples, by the voice's VITS network. Piper's own program is under the GPL-3 and not used.
The heavy libraries are imported while the server already answers its probes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import orjson
import structlog

from insource.servers.audio_encoding import to_int16
from insource.servers.model_files import (
    ModelUnavailableError,
    delivered_weights,
    locate_weights,
    verify_weights,
)
from insource.servers.phonemes import Phonemiser, espeak_command
from insource.servers.piper_voice import BadVoiceError, VoiceConfig, phoneme_ids, voice_config
from insource.servers.program import run_server
from insource.servers.sentences import clauses, cleaned, sentences, utterances
from insource.servers.settings import PiperSettings
from insource.servers.speech import Speaker, SpeechServer, Spoken

log = structlog.get_logger("insource.servers")

WEIGHTS = "*.onnx"
LONGEST_UTTERANCE = 200
"""Phonemes that the network is given at once, about ten seconds: its memory grows with them."""
SAMPLES_PER_FRAME = 256
"""Of the network's latent frames, each of which becomes that many samples (the hop length of every Piper voice)."""


def run_piper(settings: PiperSettings) -> None:
    """Serve until SIGTERM. Exit status 1, and the reason in the log, if the voice is missing or not the one wanted."""
    server = settings.server
    try:
        weights = (
            delivered_weights(server.model_dir, WEIGHTS)
            if server.model_dir
            else locate_weights(server.model_uri, WEIGHTS)
        )
        run_server(server, SpeechServer(server, piper_loader(weights, settings)))
    except ModelUnavailableError as error:
        log.error("model_unavailable", problem=str(error))
        raise SystemExit(1) from None


def piper_loader(weights: Path, settings: PiperSettings) -> Callable[[], Speaker]:
    """What loads the voice of `weights` when it is called; it may be called in a thread."""

    def load() -> Speaker:
        verify_weights(weights, settings.server.model_sha256)
        return PiperSpeaker(weights, settings)

    return load


class PiperSpeaker:
    """One Piper voice in this process. Each call speaks on its caller's thread: as many at once as there are slots."""

    def __init__(self, weights: Path, settings: PiperSettings) -> None:
        """Load the network and start espeak-ng. Raises `ModelUnavailableError`."""
        import onnxruntime

        config = _config(weights)
        self._config = config
        self._noise_scale = config.noise_scale if settings.noise_scale is None else settings.noise_scale
        self._noise_w = config.noise_w if settings.noise_w is None else settings.noise_w
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.enable_cpu_mem_arena = False  # it would keep what the longest utterance of all needed
        try:
            self._network = onnxruntime.InferenceSession(str(weights), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's own exceptions have no common base but this one
            raise ModelUnavailableError(f"{weights}: onnxruntime cannot load it: {error}") from error
        self.voices: Sequence[str] = tuple(dict.fromkeys((config.name, weights.stem)))
        self.sample_rate = config.sample_rate
        self.phonemiser = Phonemiser(espeak_command(config.espeak_voice))
        self.utterances_spoken = 0
        """Since the start; of several threads at once, about."""

    def speak(self, text: str, speed: float) -> Iterator[Spoken]:
        """See `Speaker`. Raises `PhonemesUnavailableError` if espeak-ng cannot be had."""
        for sentence in sentences(cleaned(text)):
            spoken = ((self.phonemiser.phonemes(clause.text), clause.mark) for clause in clauses(sentence))
            for utterance in utterances(spoken, LONGEST_UTTERANCE):
                if ids := phoneme_ids(self._config, utterance):
                    yield self._synthesised(ids, speed)

    def close(self) -> None:
        """End espeak-ng."""
        self.phonemiser.close()

    def _synthesised(self, ids: list[int], speed: float) -> Spoken:
        import numpy

        scales = (self._noise_scale, self._config.length_scale / speed, self._noise_w)
        (sound,) = self._network.run(
            None,
            {
                "input": numpy.array([ids], dtype=numpy.int64),
                "input_lengths": numpy.array([len(ids)], dtype=numpy.int64),
                "scales": numpy.array(scales, dtype=numpy.float32),
            },
        )
        self.utterances_spoken += 1
        samples = to_int16(sound.reshape(-1))
        return Spoken(samples, input_tokens=len(ids), output_tokens=len(samples) // SAMPLES_PER_FRAME)


def _config(weights: Path) -> VoiceConfig:
    path = weights.with_name(weights.name + ".json")
    try:
        return voice_config(orjson.loads(path.read_bytes()))
    except FileNotFoundError:
        raise ModelUnavailableError(f"{path}: it is needed beside the weights, and is not there") from None
    except (orjson.JSONDecodeError, BadVoiceError) as error:
        raise ModelUnavailableError(f"{path}: {error}") from error
