"""First-layer kernels of a run that was recorded: saves them beside its record, or draws them.

python tools/save_kernels.py RUN_FOLDER            from its newest checkpoint to results/EXPERIMENT/ARM-seedN.kernels.safetensors
python tools/save_kernels.py KERNELS_FILE PICTURE  the README's picture is made so
"""

import sys
from pathlib import Path

from ending import ended

from alexnet_lib import InputError, TrainConfig, introspection
from alexnet_lib.book import figures
from alexnet_lib.checkpoint import load_model
from alexnet_lib.evidence import records
from alexnet_lib.evidence.kernels import load_kernels, save_kernels, selectivity_by_tower


def keep(run: Path) -> Path:
    """Saves the kernels of a run and their colour selectivity beside its record in results/.

    Raises InputError where the record there is not of this run.
    """
    model, facts = load_model(run)
    path = records.results_path(records.read(run / "record.json"))
    record = records.read(path)
    then, now = (TrainConfig.from_dict(found["train"] | {"data": ""}) for found in (record, facts))
    if (then, record["steps"], record["curve"]) != (now, facts["step"], facts["curve"]):
        raise InputError(f"{path} is not the record of the checkpoint in {run}")
    records.write(record | {"colour_selectivity": selectivity_by_tower(model)}, path)
    return save_kernels(model, records.kernels_path(path))


def draw(kernels: Path, picture: Path) -> None:
    """Draws the kernels of a file, a block a tower."""
    weights = load_kernels(kernels)
    towers = len(records.read(kernels.with_name(kernels.name.replace(".kernels.safetensors", ".json")))["colour_selectivity"])
    figures.use_style()
    figures.kernels_figure(weights, introspection.colour_selectivity(weights), towers).savefig(
        picture, dpi=150, bbox_inches="tight"
    )


def main() -> int:
    paths = [Path(word) for word in sys.argv[1:]]
    if len(paths) == 1:
        print(keep(*paths))
    elif len(paths) == 2:
        draw(*paths)
    else:
        print(__doc__, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(ended(main))
