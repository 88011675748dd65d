"""Randomness as an address: the one source of random numbers in the package."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np

from veriloop.core.checks import is_integer, kind

if TYPE_CHECKING:
    import torch  # pyright: ignore[reportMissingImports]


@dataclass(frozen=True, slots=True)
class Key:
    """An immutable address in a tree of independent random streams.

    Folding never advances a hidden state. The draws of round 7 do not depend on whether rounds 1 to
    6 ran in this process. So a resumed run needs the seed and nothing else, and a plot cannot
    change a result.

    seed: an integer; each seed is a tree of its own.
    path: the labels folded in so far, integers and strings.

    >>> a = Key(0).fold(3, "verify").numpy().random()
    >>> b = Key(0).fold(3).fold("verify").numpy().random()
    >>> a == b
    True

    Raises:
        TypeError: if the seed is not an integer, the path is no tuple, or a label is neither an
            integer nor a string.
    """

    seed: int
    path: tuple[int | str, ...] = ()

    def __post_init__(self) -> None:
        if not is_integer(self.seed):
            raise TypeError(f"Key.seed must be an integer, got {self.seed!r}")
        path = cast("object", self.path)
        if not isinstance(path, tuple | list):
            raise TypeError(
                f"Key.path must be a tuple of labels, got {kind(path)}; "
                f"write Key({self.seed}).fold({path!r:.60})"
            )
        object.__setattr__(self, "seed", int(self.seed))
        object.__setattr__(self, "path", tuple(map(_label, self.path)))

    def fold(self, *labels: int | str) -> Key:
        """Return the key at `labels` below this one."""
        key = object.__new__(Key)  # what is here has been checked: only the new labels are
        object.__setattr__(key, "seed", self.seed)
        object.__setattr__(key, "path", (*self.path, *map(_label, labels)))
        return key

    def numpy(self) -> np.random.Generator:
        """Return a new NumPy generator at this address; each call begins the same stream."""
        return np.random.Generator(np.random.SFC64(int.from_bytes(self._digest(32))))

    def torch(self, device: str = "cpu") -> torch.Generator:
        """Return a new torch generator at this address on `device`."""
        import torch  # pyright: ignore[reportMissingImports]

        return torch.Generator(device).manual_seed(self.integer())

    def integer(self) -> int:
        """Return a 63-bit seed, for libraries that accept only an integer."""
        return int.from_bytes(self._digest(8)) >> 1

    def _digest(self, size: int) -> bytes:
        # JSON keeps 3 apart from "3", and (1, 23) from (12, 3).
        address = json.dumps([self.seed, *self.path]).encode()
        return hashlib.blake2b(address, digest_size=size).digest()


def check_key(where: str, key: object) -> None:
    """Refuse what is no Key, such as a seed.

    >>> check_key("Problem.start", 0)
    Traceback (most recent call last):
    TypeError: Problem.start: key must be a Key, got int 0; write veriloop.Key(0)
    """
    if not isinstance(key, Key):
        raise TypeError(f"{where}: key must be a Key, got {kind(key)}; write veriloop.Key(0)")


def _label(label: int | str) -> int | str:
    if isinstance(label, str):
        return label
    if not is_integer(label):
        raise TypeError(f"Key takes integers and strings as labels, got {label!r}")
    return int(label)
