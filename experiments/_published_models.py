"""Measure the authors' own trained models by three trainings of the feature network they describe.

python experiments/_published_models.py FOLDER [--out runs/published_models] [--resume]

FOLDER holds their models as .safetensors files. Each training of the network takes ten minutes of
one core or more, and is then kept in the cache. As many real training images as a model is measured
by are measured too: no generator of as many images can be expected to do better.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import NamedTuple

from safetensors.torch import load_file

from veriloop import Key
from veriloop.mnist import (
    ConvCVAE,
    FeatureNet,
    Images,
    balanced,
    feature_net,
    frechet_distance,
    load,
    nelbo,
    probabilities,
)
from veriloop.study.engine import BadInput, Rows, Unit
from veriloop.study.folder import RunFolder

IMAGES = 6000  # of a model, as published
REAL = "real training images"


class Setting(NamedTuple):
    """What the rows depend on."""

    folder: Path
    data: str
    steps: int | None  # of the feature network; None: its own
    images: int


def main() -> None:
    """Measure all models of the folder that the command line names, and print the table."""
    parser = argparse.ArgumentParser(
        prog="_published_models", description="Measure the authors' models."
    )
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="their .safetensors files")
    parser.add_argument("--out", type=Path, default=Path("runs/published_models"))
    parser.add_argument("--resume", action="store_true", help="go on with the run in --out")
    parser.add_argument("--trainings", type=int, default=3, help="of the network (default: 3)")
    arguments = parser.parse_args()
    setting = Setting(arguments.folder, "mnist", None, IMAGES)
    config = {"data": "mnist", "images": IMAGES, "replicates": arguments.trainings}
    about = {"experiment": "published_models", "preset": "evidence", "config": config}
    run = RunFolder(arguments.out, arguments.resume)
    try:
        work = units(setting, arguments.trainings)
        run.open(about)
    except BadInput as error:
        print(f"_published_models: {error}", file=sys.stderr)
        sys.exit(2)
    with run.stage("work"):
        rows = run.records(work, "serial")
    run.close()
    for row in rows:
        print(f"{row['arm']:<24} training {row['seed']}: mnist_fid_v2 {row['mnist_fid_v2']:.4g}")


def units(setting: Setting, trainings: int) -> list[Unit]:
    """Return one unit a training of the feature network."""
    if not models(setting.folder):
        raise BadInput(f"FOLDER: no .safetensors file in {setting.folder}; name another folder")
    return [Unit(f"training{seed}", 0, measured, (setting, seed)) for seed in range(trainings)]


def models(folder: Path) -> list[Path]:
    """Return the files of the models, by name."""
    return sorted(folder.glob("*.safetensors"))


def measured(setting: Setting, seed: int) -> Rows:
    """Return a row for each model, and one for real images, by one training of the network."""
    data = load(setting.data)
    key = Key(seed)
    network = feature_net(data, setting.steps, network="published", key=key)
    reference, _ = network.read(data.test)

    def row(arm: str, images: Images, total: float | None) -> dict[str, object]:
        values, _ = network.read(images)
        distance = frechet_distance(values, reference)
        return _row(arm, seed, network) | {"mnist_fid_v2": distance, "nelbo": total}

    rows: Rows = []
    for file in models(setting.folder):
        model = ConvCVAE(latent=20)
        model.load_state_dict(load_file(file))
        model.eval()
        total, _, _ = nelbo(model, *data.test.tensors(), key.fold("nelbo"))
        rows.append(row(file.stem, probabilities(key.fold("images"), model, setting.images), total))
    real = balanced(key.fold("real"), data.train, setting.images)
    rows.append(row(REAL, real, None))
    return rows


def _row(arm: str, seed: int, network: FeatureNet) -> dict[str, object]:
    """Return what says which row it is, and what is known of the network."""
    about: dict[str, object] = {"arm": arm, "seed": seed, "round": 0, "candidates": 0, "kept": 0}
    return about | {"network": network.digest, "accuracy": network.accuracy}


if __name__ == "__main__":
    main()
