"""Draws the network of a preset, two towers and what reads what, as the SVG on the book's first page.

python tools/draw_network.py [PRESET] [FILE]. Every number in the picture comes from the preset.
"""

import sys
from pathlib import Path

from alexnet_lib import ModelConfig
from alexnet_lib.book.diagram import overview

FILE = Path(__file__).resolve().parent.parent / "book" / "_static" / "network.svg"

if __name__ == "__main__":
    preset = sys.argv[1] if len(sys.argv) > 1 else "paper"
    file = Path(sys.argv[2]) if len(sys.argv) > 2 else FILE
    file.write_text(overview(ModelConfig.preset(preset)), encoding="utf-8")
