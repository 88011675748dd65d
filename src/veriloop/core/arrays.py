"""Names for the arrays that flow round the loop, one entry a row."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Scores = npt.NDArray[np.floating[Any]]  # shape (n,), higher is better, NaN is no verdict
Mask = npt.NDArray[np.bool_]  # shape (n,), True where a row is kept
Groups = npt.NDArray[np.integer[Any]]  # shape (n,), the group of each row

# Types that only the caller knows. A protocol that named one would refuse all others.
AnyBatch: TypeAlias = Any  # a `Batch` of the caller's type
AnyRows: TypeAlias = Any  # what picks rows: a mask, integers or a slice
AnyModel: TypeAlias = Any  # a model, which the loop never looks into
AnyPast: TypeAlias = Any  # what a pool carries: a tuple of batches, one batch or None
