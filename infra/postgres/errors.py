"""Errors in words that may be stored: nothing personal in them, never too long."""

from infra.postgres.database import storable

MAX_ERROR = 500
_OURS = ("services", "infra", "contracts")


def describe(error: BaseException) -> str:
    """An error's class, and its text only if the class is ours.

    Texts of libraries may quote the value that they stumbled over.
    """
    name = type(error).__name__
    if type(error).__module__.split(".")[0] not in _OURS:
        return storable(name, MAX_ERROR)
    try:
        text = str(error)
    except Exception:  # an error whose text cannot be had is still an error
        text = ""
    return storable(f"{name}: {text}" if text else name, MAX_ERROR)
