"""Where bfloat16 saves time, and where it would cost it."""

from __future__ import annotations

import platform
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import device as Device  # pyright: ignore[reportMissingImports]


def bf16_is_fast(device: Device) -> bool:
    """Return whether a device has instructions for products in bfloat16.

    A processor without them computes such products about ten times as slowly as in float32. So what
    may run in bfloat16 runs in float32 there.

    device: a torch.device.

    >>> import torch
    >>> bf16_is_fast(torch.device("cpu")) in (True, False)
    True
    """
    import torch  # pyright: ignore[reportMissingImports]

    if device.type == "cpu":
        return cpu_has_bf16()
    if device.type == "cuda" and torch.cuda.is_available():
        with torch.cuda.device(device):
            return torch.cuda.is_bf16_supported(including_emulation=False)
    return True


@lru_cache
def cpu_has_bf16() -> bool:
    """Return whether this processor has instructions for products in bfloat16.

    PyTorch's own answer is also yes for x86 processors that have AVX-512 and no bfloat16. Without
    oneDNN, as in the wheels for Macs, it has no such answer and no fast products.
    """
    import torch  # pyright: ignore[reportMissingImports]

    if not torch.backends.mkldnn.is_available():
        return False
    if platform.machine().lower() in ("x86_64", "amd64"):
        asked = getattr(torch.cpu, "_is_avx512_bf16_supported", None)  # an older PyTorch lacks it
        return asked is not None and asked()
    return torch.ops.mkldnn._is_mkldnn_bf16_supported()
