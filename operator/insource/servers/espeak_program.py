"""A program of its own around espeak-ng: text in, phonemes out, over its standard input and output.

espeak-ng is under the GPL-3. It is loaded here and nowhere else, and this file imports nothing of Insource: the server
(`insource.servers.phonemes`) starts it by its path and talks to it over pipes. It ends when its input ends.

    python espeak_program.py LIBRARY DATA_FOLDER VOICE

A message is its length in bytes (four bytes, big endian) and that much UTF-8. To each text there is one answer: what
espeak-ng says of each clause, in the IPA, one clause a line. The first message is an empty one: it is ready.
"""

import ctypes
import struct
import sys
from typing import BinaryIO

SYNCHRONOUS = 2  # AUDIO_OUTPUT_SYNCHRONOUS
NO_EXIT = 0x8000  # espeakINITIALIZE_DONT_EXIT
UTF_8 = 1  # espeakCHARS_UTF8
IPA = 2  # phonememode: International Phonetic Alphabet


def loaded(path: str, data: str, voice: str) -> ctypes.CDLL:
    """The library with its voice set. Ends the program, with the reason, if that cannot be."""
    library = ctypes.CDLL(path)
    library.espeak_TextToPhonemes.restype = ctypes.c_char_p
    library.espeak_TextToPhonemes.argtypes = [ctypes.POINTER(ctypes.c_void_p), ctypes.c_int, ctypes.c_int]
    if library.espeak_Initialize(SYNCHRONOUS, 0, data.encode(), NO_EXIT) < 0:
        sys.exit(f"espeak-ng cannot be initialised from {data!r}")
    if library.espeak_SetVoiceByName(voice.encode()) != 0:
        sys.exit(f"espeak-ng has no voice {voice!r} in {data!r}")
    return library


def phonemes(library: ctypes.CDLL, text: bytes) -> bytes:
    """The clauses of `text`, one a line. A NUL ends the text: espeak-ng reads C strings."""
    buffer = ctypes.create_string_buffer(text)
    rest = ctypes.c_void_p(ctypes.addressof(buffer))
    clauses = []
    while rest.value:  # espeak-ng moves it on by a clause, and sets it to null at the end
        clauses.append(library.espeak_TextToPhonemes(ctypes.byref(rest), UTF_8, IPA) or b"")
    return b"\n".join(clauses)


def read(source: BinaryIO) -> bytes | None:
    """One message; None at the end, also in the middle of a message."""
    head = source.read(4)
    if len(head) < 4:
        return None
    (length,) = struct.unpack(">I", head)
    text = source.read(length)
    return text if len(text) == length else None


def write(sink: BinaryIO, message: bytes) -> None:
    """One message."""
    sink.write(struct.pack(">I", len(message)) + message)
    sink.flush()


def main(path: str, data: str, voice: str) -> None:
    """Answer until the input ends."""
    library = loaded(path, data, voice)
    source, sink = sys.stdin.buffer, sys.stdout.buffer
    try:
        write(sink, b"")
        while (text := read(source)) is not None:
            write(sink, phonemes(library, text))
    except BrokenPipeError:
        sys.stdout = None  # who asked is gone, and nobody is left to be told


if __name__ == "__main__":
    main(*sys.argv[1:])
