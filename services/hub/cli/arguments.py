"""Days on the command line, read as at every other door."""

from datetime import date

import typer

from contracts.types import check_day, read_day


def day(text: str) -> date:
    """``2026-11-30``, within what anybody may ask about; raises ``typer.BadParameter``."""
    try:
        return check_day(read_day(text))
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
