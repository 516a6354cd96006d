"""How a table is declared: its columns as a list, in the order of its migration."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Column, DateTime, MetaData, Table

MOMENT = DateTime(timezone=True)
"""A moment, as every column of ours keeps it."""


def table(metadata: MetaData, name: str, columns: Sequence[Column[Any]]) -> Table:
    """Declare a table for Core selects; a test compares it with what the migrations make."""
    return Table(name, metadata, *columns)
