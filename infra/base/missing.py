"""What is not there: a word of the domain, so that a ``KeyError`` is never taken for it."""


class NotFoundError(Exception):
    """Nothing under that id, or nothing that the caller may see.

    ``what`` names its kind ("referral"); it is told to the caller, so never a value.
    """

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what = what
