"""The headers of requests that sagas send, and of the answers to them: both sides say them so."""

from typing import Final

KEY: Final = "Idempotency-Key"  # of a request
ACTION: Final = "Saga-Action"  # by its first key, the action that a request belongs to
UNDOES: Final = "Saga-Undoes"  # by that, the action that a request is the undo of
SINCE: Final = "Saga-Since"  # when the first request of that action may have been sent
ANSWER: Final = "Saga-Answer"  # `final`: it is kept, and no repetition is answered otherwise
REPLAY: Final = "Idempotent-Replay"  # `true`: it is the answer to an earlier request
