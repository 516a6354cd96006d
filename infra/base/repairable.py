"""Errors that whoever runs a command can repair."""


class Repairable(Exception):
    """Ends a command with one line of what is wrong, and one that names the repair.

    A class sets ``repair`` where it is always the same; otherwise the raiser gives it.
    """

    repair: str = "aiguillage doctor"
    exit_code: int = 1

    def __init__(self, what: str = "", repair: str | None = None) -> None:
        super().__init__(what)
        if repair is not None:
            self.repair = repair
