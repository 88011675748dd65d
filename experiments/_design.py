"""What the figures on one real design share: their settings."""

from __future__ import annotations

from typing import Self

from pydantic import model_validator

from veriloop.study import Config, NotNegatives, Positives, Seed, Whole


class OnRealDesign(Config):
    """One real design, and verifiers of several radii and biases on it."""

    rows: Whole
    dim: Whole
    replicates: Whole
    noise: Positives
    radius: NotNegatives
    bias: NotNegatives
    design_seed: Seed
    direction_seed: Seed

    @model_validator(mode="after")
    def _determined(self) -> Self:
        if self.rows < self.dim:
            raise ValueError(f"rows: got {self.rows}, must be at least dim = {self.dim}")
        return self
