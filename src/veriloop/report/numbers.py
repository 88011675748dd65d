"""Numbers as the cells of tables show them."""

from __future__ import annotations

import math

from veriloop.records import Curve

MOST_DIGITS = 6  # an interval narrower than these is not shown


def shown(value: float, half: float | None) -> str:
    """Return a number with half of its interval, to two digits of the latter.

    value: the number.
    half: half of its 95 % interval; None or NaN where it has none.

    >>> shown(313.62, 9.04), shown(0.39664, 0.0106), shown(2.5, None)
    ('313.6 ± 9.0', '0.397 ± 0.011', '2.5')
    """
    if half is None or half == 0 or not math.isfinite(half) or not math.isfinite(value):
        return f"{value:.4g}"
    size = math.floor(math.log10(float(f"{half:.1e}")))
    digits = max(0, 1 - size)
    if digits > MOST_DIGITS:
        return f"{value:.4g}"
    text = f"{value:.{digits}f} ± {half:.{digits}f}"
    if round(value, digits) == 0:
        return text.removeprefix("-")
    return text


def at(curve: Curve, place: int) -> str:
    """Return the mean of a curve at one of its places, with half of its interval.

    curve: a mean over seeds by round.
    place: an index, such as -1 for the last round.
    """
    mean = float(curve.mean[place])
    return shown(mean, float(curve.high[place]) - mean)


def optional(number: float | None, form: str) -> str:
    """Return a number in a format; nothing for None.

    >>> optional(0.25, ".2g"), optional(None, ".2g")
    ('0.25', '')
    """
    if number is None:
        return ""
    return format(number, form)
