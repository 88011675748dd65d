"""A reward model of summaries, read back from its folder."""

from __future__ import annotations

from pathlib import Path

from veriloop.text import reward
from veriloop.xsum.prompt import Prompt


def load_reward(folder: str | Path, *, device: str = "cpu") -> reward.Reward:
    """Read back what `save_reward` wrote.

    In a script: `--set 'verifier={call: "veriloop.xsum:load_reward", folder: DIR}'`.

    folder: where it was written.
    device: where its model is put.

    Raises:
        ValueError: in one sentence, if the folder holds no reward.

    >>> load_reward("nowhere")
    Traceback (most recent call last):
    ValueError: no reward.json in nowhere; name a folder that save_reward wrote
    """
    return reward.load_reward(folder, device=device, kind=Prompt)
