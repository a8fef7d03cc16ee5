"""make chapters: executes again those notebooks whose outputs were made from other records than there are now.

python tools/chapters.py [--all] [NAME ...]      NAME: such as 03 or 03_local_response_normalisation
"""

import argparse
import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, DeadKernelError

from alexnet_lib.book.current import KEY, NOTEBOOKS, digest, stale
from alexnet_lib.system.files import whole
from alexnet_lib.system.progress import bar

VOLATILE = ("execution", "collapsed", "scrolled")  # metadata of cells that says when they ran, or how they looked


def execute(path: Path) -> None:
    """Runs a notebook in its folder and writes it back with its outputs, or leaves it as it was where a cell fails."""
    notebook = nbformat.read(path, 4)
    NotebookClient(notebook, timeout=1200, kernel_name="python3", resources={"metadata": {"path": str(path.parent)}}).execute()
    for cell in notebook.cells:
        for name in VOLATILE:
            cell.metadata.pop(name, None)
        if "outputs" in cell:  # on a slow machine a progress bar leaves an empty one
            cell.outputs = [output for output in cell.outputs if output.get("data") != {"text/plain": ""}]
    notebook.metadata[KEY] = digest(notebook)
    with whole(path) as partial:
        nbformat.write(notebook, partial)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--all", action="store_true", help="all of them, current or not")
    asked = parser.parse_args()
    there = sorted(NOTEBOOKS.glob("*.ipynb"))
    if unknown := [name for name in asked.names if not any(path.name.startswith(name) for path in there)]:
        print(f"error: no notebook begins with {unknown[0]!r}", file=sys.stderr)
        return 1
    chosen = there if asked.all or asked.names else stale()
    chosen = [path for path in chosen if not asked.names or any(path.name.startswith(name) for name in asked.names)]
    failed = 0
    with bar(chosen, unit="chapter") as shown:
        for path in shown:
            shown.set_postfix_str(path.stem)
            try:
                execute(path)
            except (CellExecutionError, DeadKernelError) as error:
                failed += 1
                print(f"error: {path.stem} stopped: {str(error).strip().splitlines()[-1]}", file=sys.stderr)
    print(f"{len(chosen) - failed} of {len(chosen)} chapters executed" if chosen else "all chapters are current")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
