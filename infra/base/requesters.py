"""The commune's list of desks, from a file."""

from pathlib import Path

from pydantic import ValidationError

from contracts.requesters import Requesters
from infra.base.repairable import Repairable


class RequestersError(Repairable):
    """The file of AIGUILLAGE_REQUESTERS cannot be read, or does not fit."""

    repair = "correct the file of AIGUILLAGE_REQUESTERS"


def load_requesters(path: Path | None) -> Requesters:
    """The desks of a file; without one, the default desk alone. Raises ``RequestersError``."""
    if path is None:
        return Requesters()
    try:
        return Requesters.model_validate_json(path.read_bytes())
    except OSError as error:
        raise RequestersError(f"{path}: {type(error).__name__}") from error
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"])) or "JSON"
        raise RequestersError(f"{path}: {field}: {first['msg']}") from error
