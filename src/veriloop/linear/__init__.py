"""Linear regression under a knowledge-ball verifier: the loop, the exact theory, and a fast exact simulation."""

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
    "Samples",
    "Soft",
    "WeightedReal",
    "least_squares",
    "policies",
    "right_singular",
    "simulate",
    "theory",
    "truncated_means",
]
