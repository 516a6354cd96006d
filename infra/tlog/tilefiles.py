"""A log as plain files, laid out so that any web server can serve it (C2SP tlog-tiles).

Tiles come before the checkpoint that needs them; each file is there whole or not at all. What
was written stays true for ever, so a writer that was stopped goes on where it stood.
"""

import shutil
from pathlib import Path
from urllib.parse import quote

from infra.base.files import write_whole
from infra.tlog.tiles import TILE_WIDTH, Tile


class TileFiles:
    """The files of the log ``origin``, below a directory that may hold several logs."""

    def __init__(self, directory: Path, origin: str) -> None:
        self.directory = directory.joinpath(*map(_safe, origin.split("/")))

    @property
    def lock(self) -> Path:
        """Held by whoever writes; not among what is served."""
        return self.directory.with_name(f".{self.directory.name}.lock")

    def checkpoint(self) -> bytes | None:
        """The checkpoint that is published; None before the first."""
        path = self.directory / "checkpoint"
        return path.read_bytes() if path.exists() else None

    def publish(self, note: bytes) -> None:
        """Put a checkpoint in the place of the last; its tiles must be there."""
        write_whole(self.directory / "checkpoint", note)

    def has(self, tile: Tile) -> bool:
        """Whether a tile or bundle was written."""
        return self._path(tile).exists()

    def write(self, tile: Tile, data: bytes) -> None:
        """Write a tile or bundle; a full one takes the place of its partial ones."""
        write_whole(self._path(tile), data)

    def drop_partials(self, tile: Tile) -> None:
        """Remove the partial tiles that a full one has made superfluous."""
        if tile.width == TILE_WIDTH:
            path = self._path(tile)
            shutil.rmtree(path.with_name(f"{path.name}.p"), ignore_errors=True)

    def _path(self, tile: Tile) -> Path:
        return self.directory / tile.path


def _safe(part: str) -> str:
    """One name of a file from one part of an origin: nothing that leads elsewhere."""
    return quote(part, safe="") if part.strip(".") else part.replace(".", "%2E") or "%"
