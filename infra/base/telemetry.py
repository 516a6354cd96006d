"""Structured logs with a trace id, from the intake to the webhook; nothing personal in them.

The trace context is W3C's ``traceparent``: 00-<trace id>-<span id>-<flags>. Two small
functions instead of a tracing SDK: nothing here exports spans yet (docs/adr/0008).
"""

import logging
import re
import secrets
import sys
from contextvars import ContextVar
from typing import Any

import orjson
import structlog

TRACEPARENT = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
current_trace: ContextVar[str | None] = ContextVar("current_trace", default=None)


def new_traceparent() -> str:
    """A new trace."""
    ids = secrets.token_hex(24)
    return f"00-{ids[:32]}-{ids[32:]}-01"


def next_hop(traceparent: str | None) -> str:
    """The same trace, a new span; a new trace where there was none, or nonsense."""
    if traceparent is None or not TRACEPARENT.fullmatch(traceparent):
        return new_traceparent()
    version, trace, _, flags = traceparent.split("-")
    return f"{version}-{trace}-{secrets.token_hex(8)}-{flags}"


def trace_id(traceparent: str | None) -> str | None:
    """The trace id in a ``traceparent``."""
    return traceparent.split("-")[1] if traceparent else None


def _add_trace(_: Any, __: str, entry: Any) -> Any:
    if "trace_id" not in entry and (trace := trace_id(current_trace.get())):
        entry["trace_id"] = trace
    return entry


def configure_logging(level: str = "INFO", *, plain: bool = False) -> None:
    """JSON lines on stderr (stdout is for data); ``plain`` for people at a terminal."""
    number = logging.getLevelNamesMapping()[level.upper()]
    render: Any = (
        structlog.dev.ConsoleRenderer()
        if plain
        else structlog.processors.JSONRenderer(
            lambda e, **_: orjson.dumps(e, default=str).decode()
        )
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            _add_trace,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            _class_of_exception,
            render,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(level=max(number, logging.WARNING), stream=sys.stderr, force=True)
    # Without a broker it says so 250 times a second, and not in JSON; our subscriptions and
    # relays say it once a try.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)


def _class_of_exception(_: Any, __: str, entry: Any) -> Any:
    """Exceptions are logged by class and place: their text may quote what was personal."""
    info = entry.pop("exc_info", None)
    error = sys.exc_info()[1] if info is True else info
    if isinstance(error, BaseException):
        entry["error"] = type(error).__name__
        places, trace = [], error.__traceback__
        while trace:
            file = trace.tb_frame.f_code.co_filename.rsplit("/", 2)[-1]
            places.append(f"{file}:{trace.tb_lineno}")
            trace = trace.tb_next
        entry["at"] = places[-4:]
    return entry
