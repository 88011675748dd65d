"""Names for the arrays that flow round the loop, one entry a row."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Scores = npt.NDArray[np.floating[Any]]  # shape (n,), higher is better, NaN is no verdict
Mask = npt.NDArray[np.bool_]  # shape (n,), True where a row is kept
Groups = npt.NDArray[np.integer[Any]]  # shape (n,), the group of each row
