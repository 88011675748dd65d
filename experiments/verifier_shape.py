"""What of the knowledge ball's story survives other shapes: l1 ball, box, ellipsoid, half-space, soft ball."""

from __future__ import annotations

from _config import BadInput, NotNegatives, Whole
from _run import Rows, Unit, main
from _verifier_shape import Shaped, by_inversion, by_loop, expectations, measured, problem_and_verifier
from plots.verifier_shape import DESIGNS, SHAPES, draw, summarise
from veriloop import Key, Quota
from veriloop.linear import windows_of


class Shapes(Shaped):
    """Every shape on two designs; all accept the same share of the truth's rows when unbiased, as the ball does."""

    sizes: Whole  # kept rows per direction
    budget: Whole  # the most candidates a round may draw
    rounds: Whole
    replicates: Whole  # through the generic loop: random directions, and soft acceptance
    simulated: Whole  # replicates on the block design, by inversion
    bias: NotNegatives


def arm(config: Shapes, name: str, shape: str, design: str, bias: float) -> Rows:
    """Run one shape on one design, and give its expectation beside where directions part."""
    problem, verifier = problem_and_verifier(config, shape, bias)
    windows = windows_of(verifier, problem)
    key = Key(config.seed)
    block = design == DESIGNS[0]
    sizes = [config.sizes] * config.rounds
    if block and windows.temperature == 0:
        errors, drawn = by_inversion(problem, windows, sizes, config.simulated, key)
    else:
        quota = Quota(config.sizes, groups=config.dim, budget=config.budget)
        errors, drawn = by_loop(problem, verifier, block, quota, config.rounds, config.replicates, key)
    about = {"arm": name, "shape": shape, "design": design}
    about |= {"bias": bias, "seed": config.seed, "replicates": errors.shape[1]}
    rows = measured(errors, drawn, problem.center_offset, config.sizes * config.dim)
    if block:
        known = expectations(problem, windows, sizes)
        rows = [row | more for row, more in zip(rows, known, strict=True)]
    return [about | row for row in rows]


def units(config: Shapes) -> list[Unit]:
    """One unit a shape, design and bias; the slow ones, through the loop, first."""
    if config.budget < config.sizes * config.dim:
        raise BadInput(f"budget: got {config.budget}, must be at least sizes * dim = {config.sizes * config.dim}")
    if config.rows < config.dim:
        raise BadInput(f"rows: got {config.rows}, must be at least dim = {config.dim}")
    work = []
    for design in reversed(DESIGNS):
        for bias in config.bias:
            names = {shape: f"{shape}-{design}-bias{bias:g}".replace(" ", "-") for shape in SHAPES}
            work += [Unit(name, config.rounds, arm, (name, shape, design, bias)) for shape, name in names.items()]
    return work


if __name__ == "__main__":
    main(Shapes, units, draw, summarise)
