"""What is made once and kept: with checksums that are looked at before it is used.

The files can be read by whom the user's umask lets read them, so users may share a cache.
"""

from __future__ import annotations

import hashlib
import json
import os
import uuid
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, cast

from veriloop.records.lines import from_json
from veriloop.store.files import clear_left, removed, sha256

if TYPE_CHECKING:
    from torch import Tensor

SUMS = "sha256.json"  # in a kept folder: the sha256 of every other file, and under NAME its name
NAME = "."


def write_tensors(tensors: Mapping[str, Tensor], file: Path) -> None:
    """Write tensors and a digest of them and of the file's name as one safetensors file.

    It is whole or not there.

    Raises:
        ValueError: if the folder cannot be written.
    """
    from safetensors.torch import save

    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    content = save(plain, {"sha256": _digest(plain, file.name)})
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        clear_left(file)
        temporary = file.with_name(f".{file.name}.{uuid.uuid4().hex}")  # others may write it too
        try:
            with open(temporary, "xb") as stream:
                stream.write(content)
            os.replace(temporary, file)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise ValueError(unwritable(file.parent, error)) from None


def read_tensors(file: Path, device: str = "cpu") -> dict[str, Tensor] | None:
    """Read tensors back, or return None where they must be made again.

    So it is if there is no file, or one of an earlier version, without a digest. A warning names
    one that is damaged, or that is another network's under this name.
    """
    from safetensors import SafetensorError, safe_open

    if not file.exists():
        return None
    tensors: dict[str, Tensor] = {}
    try:
        with safe_open(file, framework="pt") as opened:
            stated = (opened.metadata() or {}).get("sha256")
            for name in opened.keys():  # it is no mapping
                tensors[name] = opened.get_tensor(name)
    except (SafetensorError, OSError, ValueError) as error:
        _warn(file, str(error))
        return None
    if stated is None:
        return None
    # Earlier versions left the name out.
    if stated not in (_digest(tensors, file.name), _digest(tensors)):
        _warn(file, "its sha256 differs")
        return None
    return {name: tensor.to(device) for name, tensor in tensors.items()}


def write_sums(folder: Path, name: str) -> None:
    """Write the sha256 of every file of a folder into it, for `sound`.

    name: what the folder will be called.
    """
    sums = {NAME: name}
    (folder / SUMS).unlink(missing_ok=True)
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        sums[file.relative_to(folder).as_posix()] = sha256(file)
    (folder / SUMS).write_text(json.dumps(sums, indent=1))


def sound(folder: Path) -> bool:
    """Tell whether a kept folder may be used; one that may not is deleted.

    So it is with one that is damaged, which a warning names, or of an earlier version.

    >>> import tempfile
    >>> kept = Path(tempfile.mkdtemp())
    >>> _ = (kept / "weights").write_text("0.5")
    >>> write_sums(kept, kept.name)
    >>> sound(kept), sound(kept / "other")
    (True, False)
    """
    if not folder.exists():
        return False
    if not (folder / SUMS).exists():
        removed(folder)
        return False
    wrong = _wrong(folder)
    if wrong:
        _warn(folder, wrong)
        removed(folder)
    return not wrong


def _wrong(folder: Path) -> str:
    """Say what is wrong with a kept folder; empty if nothing is."""
    try:
        sums = from_json((folder / SUMS).read_bytes())
    except (OSError, ValueError):
        sums = None
    if not isinstance(sums, dict):
        return f"{SUMS} is unreadable"
    stated = cast("dict[str, object]", sums)
    name = stated.pop(NAME, folder.name)  # earlier versions left it out
    if name != folder.name:
        return f"it was made as {name}"
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = file.relative_to(folder).as_posix()
        if name != SUMS and name not in stated:
            return f"{SUMS} does not know {name}"
    for name, digest in stated.items():
        if not (folder / name).is_file():
            return f"{name} is missing"
        if sha256(folder / name) != digest:
            return f"the sha256 of {name} differs"
    return ""


@contextmanager
def one_thread() -> Iterator[None]:
    """Let PyTorch use one thread, so that what a cache holds does not depend on their number."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def unwritable(folder: Path, error: OSError) -> str:
    """Say that a cache cannot be written, and what to do."""
    return (
        f"the cache {folder} cannot be written ({error.strerror}); make it writable, or name "
        "another folder in VERILOOP_CACHE"
    )


def _warn(place: Path, wrong: str) -> None:
    warnings.warn(f"{place} is damaged ({wrong}) and is made again", stacklevel=3)


def _digest(tensors: Mapping[str, Tensor], file: str = "") -> str:
    """Return a digest of a file's name and of tensors on the CPU: names, types, shapes, bytes."""
    import torch

    digest = hashlib.sha256(file.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)};".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
