"""Kinds of values as strangers send them: one type each, the same at every door.

Text that every store can hold, integers of 63 bits, and days and moments within a horizon: read
from ISO 8601 text only (RFC 3339 for moments), never from numbers. The horizons that move with
the clock are judged at the moment that the door handed in (``judged_at``). Stored events are
read back without horizons (``STORED``): what was taken once stays readable.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints, ValidationInfo

from contracts.days import PARIS, local_day

STORED = {"stored": True}
"""Validation context of what comes from our own log: no horizons."""
FIRST_DAY, LAST_DAY = date(1900, 1, 1), date(2199, 12, 31)
"""Of anything that anybody may ask about: far from the ends of every calendar we compute in."""
FIRST_CONTACT = date(2000, 1, 1)
AHEAD_YEARS = 10
"""How far ahead an agreement, a commission, a capacity or a session may be."""
TOLERANCE = timedelta(days=1)
"""How far a sender's clock may be ahead of ours; also covers a day begun overseas."""
MAX_INT63 = 2**63 - 1

_now: ContextVar[datetime | None] = ContextVar("judged_at", default=None)
_DAY = re.compile(r"\d{4}-\d\d-\d\d", flags=re.ASCII)
_MOMENT = re.compile(
    r"(\d{4}-\d\d-\d\dT\d\d:\d\d):(\d\d)(?:\.(\d+))?(Z|[+-]\d\d:\d\d)", flags=re.ASCII
)
_LOCAL = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d(?::\d\d)?", flags=re.ASCII)
_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_UNSEEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")


@contextmanager
def judged_at(now: datetime) -> Iterator[None]:
    """Judge the horizons within by this clock; without it, by the system's."""
    token = _now.set(now)
    try:
        yield
    finally:
        _now.reset(token)


def read_day(text: str) -> date:
    """Read ``2026-11-30`` and nothing else; raises ``ValueError``, quoting no text."""
    try:
        if _DAY.fullmatch(text):
            return date.fromisoformat(text)
    except ValueError:
        pass
    raise ValueError("must be a day that exists, as 2026-11-30")


def read_moment(text: str) -> datetime:
    """Read RFC 3339 with its offset; raises ``ValueError``, never quoting the text.

    A leap second is read as the last microsecond before it, so that it stays in its day.
    """
    matched = _MOMENT.fullmatch(text.upper())
    if matched is None:
        raise ValueError("must be an RFC 3339 date and time with its offset")
    minute, second, fraction, offset = matched.groups()
    leap = second == "60"
    fraction = "999999" if leap else (fraction or "0")[:6].ljust(6, "0")
    try:
        moment = datetime.fromisoformat(
            f"{minute}:{'59' if leap else second}.{fraction}{offset.replace('Z', '+00:00')}"
        )
        utc = moment.astimezone(UTC)
        # leap seconds are the last of a month in UTC (RFC 3339, appendix D)
        last_minute = (utc.hour, utc.minute) == (23, 59)
        if not leap or (last_minute and (utc + timedelta(days=1)).day == 1):
            return moment
    except (ValueError, OverflowError):
        pass
    raise ValueError("is not a date and time that exists")


def read_local(text: str) -> datetime:
    """Read a day and a time of it in France, as forms say it: ``2026-11-30T10:30``.

    Raises ``ValueError``, never quoting the text.
    """
    if _LOCAL.fullmatch(text) is None:
        raise ValueError("must be a day and a time of it, as 2026-11-30T10:30")
    try:
        return check_moment(datetime.fromisoformat(text).replace(tzinfo=PARIS))
    except ValueError:
        raise ValueError("is not a day and a time of it that exist") from None


def check_day(day: date) -> date:
    """Raise ``ValueError`` unless a day lies within what anybody may ask about."""
    return _within(day, FIRST_DAY, LAST_DAY)


def check_moment(moment: datetime) -> datetime:
    """Raise ``ValueError`` unless a moment lies within what anybody may ask about."""
    _within(_day_of(moment), FIRST_DAY, LAST_DAY)
    return moment


def check_contact(moment: datetime, now: datetime) -> datetime:
    """Raise ``ValueError`` unless a contact lies after 1999 and not after tomorrow."""
    _within(_day_of(moment), FIRST_CONTACT, LAST_DAY)
    if moment > now + TOLERANCE:
        raise ValueError("must not lie in the future")
    return moment


def _day_of(moment: datetime) -> date | None:
    """The day in France; None at the calendar's ends, where there is none."""
    try:
        return local_day(moment)
    except OverflowError:
        return None


def _within(day: date | None, first: date, last: date) -> date:
    if day is None or not first <= day <= last:
        raise ValueError(f"must lie between {first} and {last}")
    return day


def _day(value: Any) -> date:
    if type(value) is date:
        return value
    if not isinstance(value, str):
        raise ValueError("must be a day that exists, as 2026-11-30")
    return read_day(value)


def _moment(value: Any) -> datetime:
    if isinstance(value, datetime) and value.tzinfo is not None:
        return value
    if not isinstance(value, str):
        raise ValueError("must be an RFC 3339 date and time with its offset")
    return read_moment(value)


def _stored(info: ValidationInfo) -> bool:
    return bool(info.context and info.context.get("stored"))


def _judge(rule: Callable[[Any, datetime], Any]) -> AfterValidator:
    """A horizon: applied to what comes from outside, at the moment that the door handed in."""

    def judged(value: Any, info: ValidationInfo) -> Any:
        if not _stored(info):
            rule(value, _now.get() or datetime.now(UTC))
        return value

    return AfterValidator(judged)


def _years_ahead(now: datetime) -> date:
    """The last day that may be spoken of beforehand."""
    today = local_day(now)
    return today.replace(year=today.year + AHEAD_YEARS, day=min(today.day, 28))


def _between(first: date, last: Callable[[datetime], date]) -> AfterValidator:
    """A horizon of days: from a fixed one to one that moves with the clock."""
    return _judge(lambda day, now: _within(day, first, last(now)))


Day = Annotated[date, BeforeValidator(_day), _judge(lambda day, _: check_day(day))]
"""A day that is asked about: 1900 to 2199."""
BirthDate = Annotated[date, BeforeValidator(_day), _between(FIRST_DAY, local_day)]
"""1900 to today."""
PastDay = Annotated[
    date, BeforeValidator(_day), _between(FIRST_DAY, lambda now: local_day(now + TOLERANCE))
]
"""A day since which, or on which, something was so: 1900 to tomorrow."""
StatedDay = Annotated[date, BeforeValidator(_day), _between(FIRST_DAY, _years_ahead)]
"""A day from which on something is so, perhaps said beforehand: 1900 to ten years ahead."""
AheadDay = Annotated[date, BeforeValidator(_day), _between(FIRST_CONTACT, _years_ahead)]
"""A day until which, or on which, something will be: at most ten years ahead."""
Moment = Annotated[
    datetime, BeforeValidator(_moment), _judge(lambda moment, _: check_moment(moment))
]
"""A moment that is asked about, with its offset: 1900 to 2199."""
ContactMoment = Annotated[datetime, BeforeValidator(_moment), _judge(check_contact)]
"""When something happened that a sender tells us: 2000 to a day from now."""
AheadMoment = Annotated[
    datetime,
    BeforeValidator(_moment),
    _judge(lambda at, now: _within(_day_of(at), FIRST_CONTACT, _years_ahead(now))),
]
"""When something will be: at most ten years ahead."""

Int63 = Annotated[int, Field(ge=-MAX_INT63 - 1, le=MAX_INT63)]
"""What PostgreSQL calls a bigint."""
Count = Annotated[int, Field(ge=0, le=MAX_INT63)]
"""An integer of 63 bits from zero on: a position, an index, a number to begin after."""


def _without(characters: re.Pattern[str], refusal: str) -> AfterValidator:
    def validated(text: str, info: ValidationInfo) -> str:
        if not _stored(info) and characters.search(text):
            raise ValueError(refusal)
        return text

    return AfterValidator(validated)


Line = Annotated[str, _without(_CONTROLS, "must have no control characters")]
"""Text of one line, without control characters (PostgreSQL holds no NUL)."""
Words = Annotated[
    str,
    _without(_UNSEEN, "must have no control characters but tabs and ends of lines"),
]
"""Free text: control characters are tabs and ends of lines only."""
Slug = Annotated[
    str,
    StringConstraints(
        min_length=1, max_length=40, pattern=r"^(?:[a-z][a-z-]*)?(?:[0-9][a-z-]*){0,6}$"
    ),
]
"""A name of a thing that is kept in clear: lower-case letters, hyphens and at most six digits,
so that neither a telephone number nor a date of birth fits."""
ShortText = Annotated[Line, StringConstraints(min_length=1, max_length=150)]
Code = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/-]{0,63}$")]
"""A name of a partner, a service or a desk in the settings: kept in clear, so no free text."""
Email = Annotated[str, StringConstraints(pattern=r"^[^@\s]+@[^@\s]+\.[^@\s]+$", max_length=254)]
