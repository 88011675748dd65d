"""Run folders: checkpoints that exist whole or not at all, and the candidates of stored rounds."""

from veriloop.store.folder import RunDir, load_arrays, save_arrays

__all__ = ["RunDir", "load_arrays", "save_arrays"]
