"""Linear regression under a knowledge-ball verifier: the loop, the exact theory, and a fast exact simulation."""

from veriloop.linear import policies, theory
from veriloop.linear.model import (
    Data,
    Errors,
    FixedDesign,
    GaussianDesign,
    Generate,
    RandomDirections,
    WeightedReal,
    least_squares,
    load_state,
    right_singular,
    save_state,
)
from veriloop.linear.problem import Problem
from veriloop.linear.simulation import simulate, truncated_means
from veriloop.linear.verifiers import (
    KnowledgeBall,
    KnowledgeBox,
    KnowledgeEllipsoid,
    KnowledgeHalfSpace,
    KnowledgeL1,
    Soft,
)

__all__ = [
    "Data",
    "Errors",
    "FixedDesign",
    "GaussianDesign",
    "Generate",
    "KnowledgeBall",
    "KnowledgeBox",
    "KnowledgeEllipsoid",
    "KnowledgeHalfSpace",
    "KnowledgeL1",
    "Problem",
    "RandomDirections",
    "Soft",
    "WeightedReal",
    "least_squares",
    "load_state",
    "policies",
    "right_singular",
    "save_state",
    "simulate",
    "theory",
    "truncated_means",
]
