"""The calendar day in France: the day that a deadline, an age or an agreement is about."""

from datetime import date, datetime
from zoneinfo import ZoneInfo

PARIS = ZoneInfo("Europe/Paris")


def local_day(moment: datetime) -> date:
    """Return the day in France at a moment (which must know its time zone)."""
    return moment.astimezone(PARIS).date()
