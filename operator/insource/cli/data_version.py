"""Which layout a data directory has: written once, and a directory of a newer program is left alone."""

from __future__ import annotations

from pathlib import Path

import click

CURRENT = 1
"""Rises when an older program could no longer use the directory."""
FILE = "version"


def check_version(data: Path) -> None:
    """Raises ClickException for a directory that a newer program has written; touches nothing."""
    path = data / FILE
    try:
        text = path.read_text().strip()
    except (FileNotFoundError, NotADirectoryError):
        return
    except (OSError, UnicodeDecodeError) as error:
        raise click.ClickException(f"{path} cannot be read: {error}") from None
    if not text.isdigit():
        raise click.ClickException(
            f"{path} says {text[:40]!r}, not a version: bring it back from a copy, or choose another --data"
        )
    if int(text) > CURRENT:
        raise click.ClickException(
            f"{data} was written by a newer insource (data version {text}, this one knows {CURRENT}) and was not "
            "touched: use that one, or choose another --data"
        )


def write_version(data: Path) -> None:
    """Marks the directory as one of this program. Raises OSError."""
    path = data / FILE
    if not path.exists():
        path.write_text(f"{CURRENT}\n")
