"""Training on synthetic data that a verifier has checked: one generic loop, a backend for each kind of model."""

from importlib import import_module
from types import ModuleType

from veriloop.core import *  # noqa: F403  # pyright: ignore[reportWildcardImportFromLibrary]
from veriloop.core import __all__ as __all__

# Each loads on first touch; one that needs more than NumPy and SciPy has an extra.
_BACKENDS = ("linear", "mnist", "xsum")

__version__ = "0.1.0"


def __getattr__(name: str) -> ModuleType:
    if name not in _BACKENDS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        return import_module(f"{__name__}.{name}")
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] == __name__:
            raise
        raise ImportError(
            f"veriloop.{name} needs {error.name!r}; install it with: pip install 'veriloop[{name}]'"
        ) from error
