"""Notebooks for Colab and Binder: each begins with a cell that fetches the library where it is missing.

python tools/launch.py ADDRESS FOLDER       copies, in FOLDER, that fetch from the repository at ADDRESS
python tools/launch.py ADDRESS --in-place   the notebooks themselves, for the branch that the launch buttons open
"""

import sys
from pathlib import Path

import nbformat
from ending import ended

from alexnet_lib.system.files import whole

NOTEBOOKS = Path(__file__).resolve().parent.parent / "notebooks"
CELL = """\
# Where the library is missing, as in Colab: fetch it and install it beside the packages that are there.
import importlib.util
import subprocess
import sys

if importlib.util.find_spec("alexnet_lib") is None:
    subprocess.run(["git", "clone", "--quiet", "--depth", "1", {address!r}, "alexnet-reproduced"], check=True)
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "-e"]
    subprocess.run([*install, "alexnet-reproduced"], check=True)
    sys.path.insert(0, "alexnet-reproduced")  # a kernel that is running looks for packages only when it starts"""


def launched(notebook: nbformat.NotebookNode, address: str) -> nbformat.NotebookNode:
    """The notebook with the cell in front."""
    cell = nbformat.v4.new_code_cell(CELL.format(address=address), id="fetch", metadata={"tags": ["remove-cell"]})
    notebook.cells = [cell, *(each for each in notebook.cells if each.get("id") != cell.id)]
    return notebook


def main() -> int:
    if len(sys.argv) != 3 or (sys.argv[2].startswith("-") and sys.argv[2] != "--in-place"):
        print(__doc__, file=sys.stderr)
        return 2
    address, to = sys.argv[1:]
    folder = NOTEBOOKS if to == "--in-place" else Path(to)
    for path in sorted(NOTEBOOKS.glob("*.ipynb")):
        with whole(folder / path.name) as partial:
            nbformat.write(launched(nbformat.read(path, 4), address), partial)
    return 0


if __name__ == "__main__":
    sys.exit(ended(main))
