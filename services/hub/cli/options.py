"""Options that several commands take, and days, read as at every other door."""

from datetime import date
from pathlib import Path
from typing import Annotated

import typer

from contracts.types import check_day, read_day

Data = Annotated[Path | None, typer.Option("--data", help="Directory of what is kept.")]
AsJson = Annotated[bool, typer.Option("--json", help="One line of JSON on stdout.")]


def day(text: str) -> date:
    """Return the day of ``2026-11-30``, within what anybody may ask about.

    Raises ``typer.BadParameter``.
    """
    try:
        return check_day(read_day(text))
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
