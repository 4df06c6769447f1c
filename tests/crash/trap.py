"""A module that no journal lists: to import it leaves a trace, and so does its class."""

from .points import Here

(Here.place / "trap").touch()


class Trap:
    """To make one leaves a trace."""

    def __init__(self, *_: object, **__: object) -> None:
        (Here.place / "trap").touch()
