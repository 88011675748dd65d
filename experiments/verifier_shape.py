"""How verifiers of other shapes than the knowledge ball do: l1 ball, box, ellipsoid, and more."""

from __future__ import annotations

from _verifier_shape import Shaped, by_inversion, by_loop, expectations, measured, setting
from figures.verifier_shape import DESIGNS, SHAPES, draw, summarise
from veriloop.linear import windows_of
from veriloop.study import BadInput, NotNegatives, Rows, Unit, main


class Shapes(Shaped):
    """Every shape on two designs; unbiased, all accept the same share of the truth's rows."""

    bias: NotNegatives


def arm(config: Shapes, name: str, shape: str, design: str, bias: float) -> Rows:
    """Run one shape on one design, and give its expectation beside where directions part."""
    problem, verifier = setting(config, shape, bias)
    windows = windows_of(verifier, problem)
    block = design == DESIGNS[0]
    if block and windows.temperature == 0:
        errors, drawn = by_inversion(config, problem, windows)
    else:
        errors, drawn = by_loop(config, problem, verifier, block)
    about = {"arm": name, "shape": shape, "design": design}
    about |= {"bias": bias, "seed": config.seed, "replicates": errors.shape[1]}
    rows = measured(errors, drawn, problem.center_offset, config.sizes * config.dim)
    if block:
        known = expectations(config, problem, windows)
        rows = [row | more for row, more in zip(rows, known, strict=True)]
    return [about | row for row in rows]


def units(config: Shapes) -> list[Unit]:
    """One unit a shape, design and bias; the slow ones, through the loop, first."""
    kept = config.sizes * config.dim
    if config.budget < kept:
        raise BadInput(f"budget: got {config.budget}, must be at least sizes * dim = {kept}")
    if config.rows < config.dim:
        raise BadInput(f"rows: got {config.rows}, must be at least dim = {config.dim}")
    work = []
    for design in reversed(DESIGNS):
        for bias in config.bias:
            for shape in SHAPES:
                name = f"{shape}-{design}-bias{bias:g}".replace(" ", "-")
                work.append(Unit(name, config.rounds, arm, (name, shape, design, bias)))
    return work


if __name__ == "__main__":
    main(Shapes, units, draw, summarise)
