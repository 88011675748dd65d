"""A verifier that may take so long, and no longer."""

from __future__ import annotations

import contextvars
import threading
import warnings
from dataclasses import dataclass

import numpy as np

from veriloop.core.arrays import AnyBatch
from veriloop.core.checks import check_positive
from veriloop.core.key import Key
from veriloop.core.parts import check_part
from veriloop.core.verdict import Verdict, Verifier, called, judged
from veriloop.verifiers.algebra import CALLED_WITH


@dataclass(frozen=True)
class TimeLimit:
    """Wait at most `seconds` for the verdict of `verifier`.

    Where the time is up, no row of the call has a verdict (NaN), and none is kept. A warning says
    so, and the record counts the rows under `no_verdict`. `Batched(TimeLimit(...), rows)` loses no
    more than `rows` rows.

    The call is left to itself in a thread, as Python cannot stop it: it goes on using memory and
    processor until it ends, or the process does. A call that never gives Python's lock back, as
    some compiled code does, cannot be limited so; give `unit_timeout` to a study for that. A run
    that meets the limit depends on time, so it cannot be repeated to the byte.

    verifier: (key, batch) -> scores.
    seconds: how long one call may take.

    >>> import time
    >>> slow = lambda key, batch: time.sleep(0.01 * len(batch)) or np.ones(len(batch))
    >>> TimeLimit(slow, seconds=60.0)(Key(0), np.zeros(2)).scores
    array([1., 1.])

    Raises:
        ValueError: if `seconds` is no positive number.
    """

    verifier: Verifier
    seconds: float

    def __post_init__(self) -> None:
        check_part("TimeLimit.verifier", self.verifier, CALLED_WITH)
        check_positive("TimeLimit.seconds", self.seconds)

    def __call__(self, key: Key, batch: AnyBatch) -> Verdict:
        call = _Call(self.verifier, key, batch)
        context = contextvars.copy_context()  # settings such as those of np.errstate
        # A daemon, so that a call that never ends does not keep the process.
        thread = threading.Thread(target=context.run, args=(call.run,), daemon=True)
        thread.start()
        thread.join(self.seconds)
        verdict = call.result()
        if verdict is not None:
            return verdict
        warnings.warn(
            f"{called(self.verifier)} was not done after {self.seconds:g} s, no verdict for "
            f"{len(batch)} rows",
            stacklevel=2,
        )
        return Verdict(np.full(len(batch), np.nan))


class _Call:
    """One call of a verifier, and what comes of it."""

    def __init__(self, verifier: Verifier, key: Key, batch: AnyBatch) -> None:
        self._verifier = verifier
        self._key = key
        self._batch = batch
        self._verdict: Verdict | None = None
        self._error: BaseException | None = None

    def run(self) -> None:
        """Make the call; an error waits for whoever asks for the result."""
        try:
            self._verdict = judged(self._verifier, self._key, self._batch)
        except BaseException as error:
            self._error = error

    def result(self) -> Verdict | None:
        """Return the verdict, or None while there is none."""
        if self._error is not None:
            raise self._error
        return self._verdict
