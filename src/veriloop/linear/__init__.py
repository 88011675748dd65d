"""Linear regression with a verifier: the loop, exact theory, and fast exact simulation."""

from veriloop.linear import policies, theory
from veriloop.linear.model import (
    Errors,
    FixedDesign,
    GaussianDesign,
    Generate,
    RandomDirections,
    Samples,
    WeightedReal,
    least_squares,
    right_singular,
)
from veriloop.linear.noise import noisy_one_round_mse
from veriloop.linear.problem import Problem
from veriloop.linear.simulation import simulate, truncated_means
from veriloop.linear.verifiers import (
    Knowledge,
    KnowledgeBall,
    KnowledgeBox,
    KnowledgeEllipsoid,
    KnowledgeHalfSpace,
    KnowledgeL1,
    Soft,
)
from veriloop.linear.windows import (
    Accepted,
    ExpectedPath,
    Windows,
    expected_path,
    simulate_windows,
    windows_of,
)

__all__ = [
    "Accepted",
    "Errors",
    "ExpectedPath",
    "FixedDesign",
    "GaussianDesign",
    "Generate",
    "Knowledge",
    "KnowledgeBall",
    "KnowledgeBox",
    "KnowledgeEllipsoid",
    "KnowledgeHalfSpace",
    "KnowledgeL1",
    "Problem",
    "RandomDirections",
    "Samples",
    "Soft",
    "WeightedReal",
    "Windows",
    "expected_path",
    "least_squares",
    "noisy_one_round_mse",
    "policies",
    "right_singular",
    "simulate",
    "simulate_windows",
    "theory",
    "truncated_means",
    "windows_of",
]
