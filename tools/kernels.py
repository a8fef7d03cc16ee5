"""Draws the first-layer kernels of a run: python tools/kernels.py RUN_FOLDER PICTURE. The README's picture is made by it."""

import sys
from pathlib import Path

from alexnet_lib import figures, introspection
from alexnet_lib.checkpoint import load_model


def main() -> None:
    run, picture = map(Path, sys.argv[1:])
    model, _ = load_model(run)
    weights = introspection.kernels(model)
    figures.use_style()
    figures.kernels_figure(weights, introspection.colour_selectivity(weights), model.config.towers).savefig(
        picture, dpi=150, bbox_inches="tight"
    )


if __name__ == "__main__":
    main()
