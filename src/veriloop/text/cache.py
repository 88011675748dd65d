"""What a model has read, in tensors that have room for the tokens it is to write."""

from __future__ import annotations

from typing import Any, Protocol

from torch import Tensor
from transformers.cache_utils import DynamicCache, DynamicLayer, DynamicSlidingWindowLayer

from veriloop.text.models import Cache


class Layer(Protocol):
    """Keys and values of one layer, shape (rows, heads, tokens, size)."""

    keys: Tensor
    values: Tensor


class Layers(Cache, Protocol):
    """A cache as transformers has it: one part a layer."""

    layers: list[Any]


def can_have_room(cache: object) -> bool:
    """Tell whether every layer of a cache keeps all keys and values as they are.

    Layers that forget (sliding windows), compress, or keep states of another kind do not.
    """
    return _only(cache, {DynamicLayer})


def can_take_rows(cache: object) -> bool:
    """Tell whether some rows can be taken from a cache, and a row several times.

    Layers that keep a state in place of keys and values (Mamba, LFM2, Qwen3-Next) cannot.
    """
    return _only(cache, {DynamicLayer, DynamicSlidingWindowLayer})


def _only(cache: object, kinds: set[type]) -> bool:
    """Tell whether a cache is a plain one, and all its layers are of these kinds."""
    if type(cache) is not DynamicCache:  # others keep more than their layers
        return False
    return bool(cache.layers) and {type(layer) for layer in cache.layers} <= kinds


class Room:
    """The cache of rows whose prompts are read block by block.

    cache: what is complete when every block has been added.

    first: the cache of the first block; it becomes that of all rows.
    copies: which distinct prompt each row has, shape (rows,); blocks have distinct prompts in turn.
    room: how many tokens a row can take after its prompt.
    """

    def __init__(self, first: Layers, copies: Tensor, room: int) -> None:
        self.cache = first
        self._copies = copies
        self._added = 0
        rows, picked = self._next(first)
        for index, read in enumerate(first.layers):
            layer = _RoomyLayer(read, len(copies), room)
            layer.put(rows, read, picked)
            first.layers[index] = layer  # lets `read` go, so that one layer at most is there twice

    def add(self, block: Layers) -> None:
        """Add the cache of the next block."""
        rows, picked = self._next(block)
        for layer, read in zip(self.cache.layers, block.layers, strict=True):
            layer.put(rows, read, picked)

    def _next(self, block: Layers) -> tuple[Tensor, Tensor]:
        """Return the rows that have a prompt of the next block, and which of its prompts."""
        prompts = len(block.layers[0].keys)
        place = self._copies - self._added
        self._added += prompts
        rows = ((place >= 0) & (place < prompts)).nonzero().squeeze(1)
        return rows, place[rows]


class _RoomyLayer(DynamicLayer):
    """Keys and values of one layer, with room for the tokens to come.

    The layer of transformers copies all that it holds for every new token. This one writes the
    token into its place.

    like: a layer that has read prompts; its tensors give the shapes.
    rows: how many rows the new layer has; `put` fills them.
    room: how many tokens a row can take after its prompt.
    """

    def __init__(self, like: Layer, rows: int, room: int) -> None:
        super().__init__()
        self.dtype = like.keys.dtype
        self.device = like.keys.device
        self.is_initialized = True
        self._length = like.keys.shape[2]
        self._all_keys = _with_room(like.keys, rows, room)
        self._all_values = _with_room(like.values, rows, room)
        self._show()

    def put(self, rows: Tensor, other: Layer, picked: Tensor) -> None:
        """Copy rows `picked` of another layer, which has read as many tokens, into `rows`."""
        self.keys.index_copy_(0, rows, other.keys[picked])
        self.values.index_copy_(0, rows, other.values[picked])

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: object, **kwargs: object
    ) -> tuple[Tensor, Tensor]:
        """Write new tokens into their place, and return all there are."""
        start = self._length
        self._length = start + key_states.shape[2]
        self._all_keys[:, :, start : self._length] = key_states
        self._all_values[:, :, start : self._length] = value_states
        self._show()
        return self.keys, self.values

    def batch_select_indices(self, indices: Tensor) -> None:
        """Take these rows."""
        self._all_keys = self._all_keys[indices]
        self._all_values = self._all_values[indices]
        self._show()

    def _show(self) -> None:
        """Let `keys` and `values` be what has been written so far."""
        self.keys: Tensor = self._all_keys[:, :, : self._length]
        self.values: Tensor = self._all_values[:, :, : self._length]


def _with_room(tensor: Tensor, rows: int, room: int) -> Tensor:
    """Return zeros of the shape of `tensor`, for other rows and with more tokens."""
    _, heads, length, size = tensor.shape
    return tensor.new_zeros(rows, heads, length + room, size)
