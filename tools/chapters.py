"""make chapters: executes again those notebooks whose outputs were made from other records than there are now, and of a
notebook whose code is that of its last execution only the cells that depend on records (slices.py).

python tools/chapters.py [--all] [NAME ...]      NAME: such as 03 or 03_local_response_normalisation; these run whole
python tools/chapters.py --shown                 what depends on records or shows the library's source, in every chapter
"""

import argparse
import hashlib
import sys
from pathlib import Path

import nbformat
from ending import ended
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, DeadKernelError
from slices import of_records

from alexnet_lib.book.current import KEY, NOTEBOOKS, digest, stale
from alexnet_lib.system.files import whole
from alexnet_lib.system.progress import bar
from alexnet_lib.system.strict import InputError

VOLATILE = ("execution", "collapsed", "scrolled")  # metadata of cells that says when they ran, or how they looked


CODE = "code"  # in a notebook's metadata: the SHA-256 of the code cells that its outputs were made by


def code_digest(notebook) -> str:
    return hashlib.sha256("\0".join(cell.source for cell in notebook.cells if cell.cell_type == "code").encode()).hexdigest()


def tidy(outputs: list) -> list:
    """What a slow machine leaves is made what a quick one does: a stream in pieces is one, a progress bar's empty output goes."""
    kept: list = []
    for output in outputs:
        if output.output_type == "stream" and kept and kept[-1].get("name") == output.name:
            kept[-1].text += output.text
        elif output.get("data") != {"text/plain": ""}:
            kept.append(output)
    return kept


def execute(path: Path, whole_notebook: bool = False) -> bool:
    """Runs a notebook in its folder and writes it back with its outputs, or leaves it as it was where a cell fails.

    Where its code is that of its last execution only what depends on records is run. Returns whether all of it ran.
    """
    notebook = nbformat.read(path, 4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    all_of_it = whole_notebook or notebook.metadata.get(CODE) != code_digest(notebook)
    affected, wanted = (range(len(code)),) * 2 if all_of_it else of_records([cell.source for cell in code])
    run = nbformat.v4.new_notebook(metadata=notebook.metadata, cells=[code[place].copy() for place in sorted(wanted)])
    NotebookClient(run, timeout=1200, kernel_name="python3", resources={"metadata": {"path": str(path.parent)}}).execute()
    done = dict(zip(sorted(wanted), run.cells, strict=True))
    for place in affected:
        code[place].outputs, code[place].execution_count = tidy(done[place].outputs), place + 1
    for cell in notebook.cells:
        for name in VOLATILE:
            cell.metadata.pop(name, None)
    for output, place in ((output, place) for place, cell in enumerate(code) for output in cell.outputs):
        if "execution_count" in output:
            output.execution_count = place + 1
    notebook.metadata |= {KEY: digest(notebook), CODE: code_digest(notebook)}
    with whole(path) as partial:
        nbformat.write(notebook, partial)
    return all_of_it


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--all", action="store_true", help="all of them, current or not")
    parser.add_argument("--shown", action="store_true", help="cells of records and of the library's source, in all of them")
    asked = parser.parse_args()
    there = sorted(NOTEBOOKS.glob("*.ipynb"))
    if unknown := [name for name in asked.names if not any(path.name.startswith(name) for path in there)]:
        raise InputError(f"no notebook begins with {unknown[0]!r}")
    chosen = there if asked.all or asked.names or asked.shown else stale()
    chosen = [path for path in chosen if not asked.names or any(path.name.startswith(name) for name in asked.names)]
    failed = 0
    with bar(chosen, unit="chapter") as shown:
        for path in shown:
            shown.set_postfix_str(path.stem)
            try:
                execute(path, asked.all or bool(asked.names))
            except (CellExecutionError, DeadKernelError) as error:
                failed += 1
                print(f"error: {path.stem} stopped: {str(error).strip().splitlines()[-1]}", file=sys.stderr)
    print(f"{len(chosen) - failed} of {len(chosen)} chapters executed" if chosen else "all chapters are current")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(ended(main))
