"""Draws the network of a preset, two towers and what reads what, as the SVG on the book's first page.

python tools/draw_network.py [PRESET] [FILE]. Every number in the picture comes from the preset.
"""

import argparse
import sys
from pathlib import Path

from ending import ended

from alexnet_lib import ModelConfig
from alexnet_lib.book.diagram import overview
from alexnet_lib.system.files import whole

FILE = Path(__file__).resolve().parent.parent / "book" / "_static" / "network.svg"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("preset", nargs="?", default="paper")
    parser.add_argument("file", nargs="?", type=Path, default=FILE)
    asked = parser.parse_args()
    with whole(asked.file) as partial:
        partial.write_text(overview(ModelConfig.preset(asked.preset)), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(ended(main))
