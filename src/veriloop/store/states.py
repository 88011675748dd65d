"""States in folders, without pickling: arrays, dataclasses of arrays, torch modules."""

from __future__ import annotations

import copy
import json
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from veriloop.core.arrays import AnyBatch, AnyModel
from veriloop.core.batch import Columns, as_batches, is_tensor
from veriloop.core.fingerprints import is_installed
from veriloop.core.scores import to_numpy
from veriloop.core.state import State
from veriloop.store.files import sha256

Json: TypeAlias = Any  # what json.loads returns

PLAIN = (bool, int, float, str)


def save_state(
    state: State[Any], folder: Path, write_model: Callable[[Any, Path], None] | None = None
) -> None:
    """Write a state into an existing folder.

    The model and the batches of the past may be NumPy arrays, torch tensors, numbers, strings, and
    lists, tuples, dicts and dataclasses of them. A model may also be a torch module.

    state: the state.
    folder: where it goes; it must exist.
    write_model: (model, folder) -> None, for a model of another kind.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> save_state(State({"mean": np.zeros(2), "steps": 7}, round=3), folder)
    >>> load_state(folder)
    State(model={'mean': float64[2], 'steps': 7}, round=3, past=None)

    Raises:
        TypeError: if the model or a batch is of a kind that cannot be written without pickling.
    """
    if write_model is None:
        write_model = _write_model
    write_model(state.model, folder)
    names = None
    if state.past is not None:
        names = [write_batch(batch, folder) for batch in as_batches(state.past)]
    (folder / "state.json").write_text(json.dumps({"round": state.round, "past": names}))


def load_state(
    folder: Path, read_model: Callable[[Path], Any] | None = None, like: AnyModel = None
) -> State[Any]:
    """Read back what `save_state` wrote.

    read_model: folder -> model, the reverse of `write_model`.
    folder: where the state lies.
    like: a model of the same architecture, for a torch module: it is copied and given the weights.
        It is needed too for a dataclass of an installed package.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> save_state(State(0.5, round=3), folder)
    >>> load_state(folder).round
    3

    Raises:
        ValueError: if a torch module needs `like`, or a dataclass is of a module that is not
        loaded, or of an installed package other than that of `like`.
    """
    about = json.loads((folder / "state.json").read_text())
    if read_model is None:
        model = _read_model(folder, like)
    else:
        model = read_model(folder)
    past = None
    if about["past"] is not None:
        past = tuple(read_batch(name, folder) for name in about["past"])
    return State(model, about["round"], past)


def write_batch(batch: object, folder: Path) -> str:
    """Write a batch into a file that is called after its content; return the name."""
    temporary = folder / f".batch-{os.getpid()}.npz"
    _write_value(batch, temporary)
    name = batch_name(temporary)
    os.replace(temporary, folder / name)
    return name


def batch_name(file: Path) -> str:
    """Return what a batch's file is called after its content."""
    return f"batch-{sha256(file)[:32]}.npz"


def read_batch(name: str, folder: Path) -> AnyBatch:
    """Read back what `write_batch` wrote."""
    return _read_value(folder / name)


def is_batch(value: object) -> bool:
    """Tell whether `write_batch` can write a value."""
    return isinstance(value, np.ndarray | Columns) or is_tensor(value)


def _write_model(model: AnyModel, folder: Path) -> None:
    if hasattr(model, "state_dict"):
        from safetensors.torch import save_model

        save_model(model, str(folder / "model.safetensors"))
        return
    _write_value(model, folder / "model.npz")


def _read_model(folder: Path, like: AnyModel) -> AnyModel:
    weights = folder / "model.safetensors"
    if not weights.exists():
        return _read_value(folder / "model.npz", like)
    if like is None:
        raise ValueError(
            f"{weights} holds weights alone; give like=, a model of the same architecture"
        )
    from safetensors.torch import load_model

    model = copy.deepcopy(like)
    load_model(model, str(weights))
    return model


def _write_value(value: object, file: Path) -> None:
    """Write a value as one .npz file: its arrays, and a JSON text that holds the rest."""
    arrays: dict[str, np.ndarray] = {}
    tree = _split(value, arrays)
    arrays["tree"] = np.array(json.dumps(tree))
    np.savez(file, **arrays)  # type: ignore[arg-type]


def _read_value(file: Path, like: AnyModel = None) -> AnyModel:
    with np.load(file, allow_pickle=False) as arrays:
        return _join(json.loads(str(arrays["tree"])), arrays, like)


def _split(value: AnyModel, arrays: dict[str, np.ndarray]) -> Json:
    """Return JSON in which every array is replaced by its name in `arrays`."""
    if value is None or type(value) in PLAIN:
        return value
    name = f"array{len(arrays)}"
    if is_tensor(value):
        arrays[name] = to_numpy(value)
        return {"tensor": name}
    if isinstance(value, np.ndarray | np.generic):
        array = np.asarray(value)
        if array.dtype != object:
            arrays[name] = array
            return {"array": name}
        if array.ndim == 1 and all(isinstance(text, str) for text in array):
            encoded = [text.encode() for text in array]
            arrays[name] = np.frombuffer(b"".join(encoded), dtype=np.uint8)
            arrays[f"{name}_sizes"] = np.array([len(text) for text in encoded], dtype=np.int64)
            return {"texts": name}
    if isinstance(value, list | tuple):
        return {type(value).__name__: [_split(each, arrays) for each in value]}
    if isinstance(value, Mapping):
        return {"dict": [[key, _split(each, arrays)] for key, each in value.items()]}
    if is_dataclass(value) and not isinstance(value, type):
        kind = type(value)
        parts: dict[str, Json] = {}
        for each in fields(value):
            if each.init:
                parts[each.name] = _split(getattr(value, each.name), arrays)
        return {"dataclass": f"{kind.__module__}:{kind.__qualname__}", "fields": parts}
    raise TypeError(
        f"a {type(value).__name__} cannot be written without pickling; make the model of arrays, "
        "or give RunDir.run functions save=(state, folder) and load=(folder)"
    )


def _join(tree: Json, arrays: Mapping[str, np.ndarray], like: AnyModel) -> AnyModel:
    """Put the arrays back."""
    if not isinstance(tree, dict):
        return tree
    if "array" in tree:
        array = arrays[tree["array"]]
        if array.ndim == 0:
            return array[()]
        return array
    if "tensor" in tree:
        import torch

        return torch.from_numpy(arrays[tree["tensor"]])
    if "texts" in tree:
        return _texts(arrays[tree["texts"]], arrays[f"{tree['texts']}_sizes"])
    if "list" in tree:
        return [_join(each, arrays, like) for each in tree["list"]]
    if "tuple" in tree:
        return tuple(_join(each, arrays, like) for each in tree["tuple"])
    if "dict" in tree:
        return {key: _join(each, arrays, like) for key, each in tree["dict"]}
    kind = _dataclass_named(tree["dataclass"], like)
    return kind(**{name: _join(each, arrays, like) for name, each in tree["fields"].items()})


def _texts(content: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    texts = np.empty(len(sizes), dtype=object)
    whole = content.tobytes()
    start = 0
    for i, size in enumerate(sizes.tolist()):
        texts[i] = whole[start : start + size].decode()
        start += size
    return texts


def _dataclass_named(name: str, like: AnyModel) -> Callable[..., object]:
    """Find a dataclass in what is loaded already: a file must not decide which code is imported.

    Nor which code of other packages is called. So the dataclass is of veriloop, of the user's own
    modules, of the package of `like`, or a type of batch.

    Raises:
        ValueError: if it is not there, or of another package.
    """
    module, _, path = name.partition(":")
    found: Any = sys.modules.get(module)
    for part in path.split("."):
        found = getattr(found, part, None)
    if not isinstance(found, type) or not is_dataclass(found):
        raise ValueError(
            f"the file holds a {path} of {module}, which is not loaded; import it first"
        )
    package = module.partition(".")[0]
    own = {"veriloop", type(like).__module__.partition(".")[0]}
    if package not in own and is_installed(module) and not issubclass(found, Columns):
        raise ValueError(
            f"the file holds a {path} of the installed package {package}, which is not made; "
            "give like=, a model of the same type"
        )
    return found
