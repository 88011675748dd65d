"""Run folders: checkpoints that exist whole or not at all, and the candidates of stored rounds."""

from veriloop.store.folder import RunDir
from veriloop.store.states import load_state, save_state

__all__ = ["RunDir", "load_state", "save_state"]
