"""Homework from the chapters' exercises, made and scored with nbgrader.

python tools/homework.py make FOLDER [CHAPTER ...]   a course: FOLDER/source with the solutions, FOLDER/release without them
python tools/homework.py score FOLDER STUDENT        what FOLDER/submitted/STUDENT/CHAPTER/CHAPTER.ipynb is worth, in percent
"""

import ast
import logging
import os
import sys
from pathlib import Path

import nbformat
from ending import ended
from nbgrader.apps.api import NbGraderAPI
from nbgrader.coursedir import CourseDirectory
from traitlets.config import Config

from alexnet_lib.config import InputError, one_of

NOTEBOOKS = Path(__file__).resolve().parent.parent / "notebooks"
BEGIN, END = "### BEGIN SOLUTION", "### END SOLUTION"

# nbgrader calls programs that lie beside this Python, wherever the shell looks for its own.
os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])


def parts(source: str) -> tuple[str, str]:
    """(what a student writes, what is checked): a solution is cut before its first statement that asserts.

    Above the first stand the names that the checks read, empty, so that a name of an earlier cell cannot pass for an answer.
    """
    body, lines = ast.parse(source).body, source.splitlines()
    asserting = [any(isinstance(node, ast.Assert) for node in ast.walk(statement)) for statement in body]
    cut = body[asserting.index(True)].lineno - 1
    answer, checks = "\n".join(lines[:cut]).rstrip(), "\n".join(lines[cut:])
    asked = [name for name in _bound(answer) if name in _read(checks)]
    empty = "\n".join(f"{name} = None  # yours" for name in asked)
    return f"{empty}\n{BEGIN}\n{answer}\n{END}", checks


def _bound(code: str) -> list[str]:
    """The names that code gives a value to before it reads them."""
    found, read = [], set()
    for statement in ast.parse(code).body:
        if not isinstance(statement, ast.FunctionDef | ast.ClassDef):
            read |= _read(ast.unparse(statement)) - set(found)
        nodes = [statement] if isinstance(statement, ast.FunctionDef | ast.ClassDef) else ast.walk(statement)
        stored = [getattr(node, "name", None) or getattr(node, "id", None) for node in nodes
                  if isinstance(getattr(node, "ctx", None), ast.Store) or (hasattr(node, "body") and hasattr(node, "name"))]  # fmt: skip
        found += [name for name in stored if name and name not in found and name not in read]
    return found


def _read(code: str) -> set[str]:
    return {node.id for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}


def homework(chapter: Path) -> nbformat.NotebookNode:
    """A chapter as nbgrader's source of an assignment: each solution in two cells, its words left out."""
    notebook = nbformat.read(chapter, 4)
    cells, inside = [], False
    for cell in notebook.cells:
        if cell.cell_type == "markdown" and "{solution-start}" in cell.source:
            inside = True
        elif cell.cell_type == "markdown" and "{solution-end}" in cell.source:
            inside = False
        elif "solution" in cell.metadata.get("tags", []):
            number = sum("nbgrader" in each.metadata for each in cells) // 2 + 1
            for name, source in zip(("answer", "checks"), parts(cell.source), strict=True):
                graded = {"grade": name == "checks", "locked": name == "checks", "solution": name == "answer"}
                made = nbformat.v4.new_code_cell(source)
                made.metadata["nbgrader"] = {"grade_id": f"{name}-{number}", "schema_version": 3, "task": False, **graded}
                if graded["grade"]:
                    made.metadata["nbgrader"]["points"] = 1
                cells.append(made)
        elif not inside:
            cells.append(cell)
    notebook.cells = cells
    return notebook


def course(folder: Path) -> NbGraderAPI:
    """nbgrader, set to a folder, silent but for errors."""
    config = Config()
    config.CourseDirectory.root = str(folder.resolve())
    config.CourseDirectory.db_url = f"sqlite:///{folder.resolve() / 'gradebook.db'}"
    config.ExecutePreprocessor.timeout = 1800
    config.NbGraderAPI.log_level = logging.ERROR
    return NbGraderAPI(CourseDirectory(config=config), config=config)


def make(folder: Path, names: list[str]) -> None:
    """Raises InputError for a chapter that does not exist, or is named and has no exercises."""
    there = {chapter.stem: chapter for chapter in sorted(NOTEBOOKS.glob("*.ipynb"))}
    for name in names:
        one_of("chapter", name, there)
    for name in names or there:
        source = homework(there[name])
        if not any("nbgrader" in cell.metadata for cell in source.cells):
            if names:
                raise InputError(f"{name} has no exercises")
            continue
        path = folder / "source" / name / f"{name}.ipynb"
        path.parent.mkdir(parents=True, exist_ok=True)
        nbformat.write(source, path)
        done = course(folder).generate_assignment(name)
        if not done["success"]:
            raise SystemExit(f"error: {name}: {done.get('error', '')}\n{done.get('log', '')[-2000:]}")
        print(folder / "release" / name / path.name)


def score(folder: Path, student: str) -> dict[str, float]:
    """Percent of the points by chapter. Each submitted notebook is run from top to bottom. Raises InputError where there is none."""
    found, submitted = {}, folder / "submitted" / student
    if not (there := sorted(submitted.glob("*/*.ipynb"))):
        raise InputError(f"no notebook in {submitted}: name the folder of the course and a student who has submitted")
    for path in there:
        api = course(folder)
        done = api.autograde(path.stem, student)
        if not done["success"]:
            raise SystemExit(f"error: {path}: {done.get('error', '')}\n{done.get('log', '')[-2000:]}")
        with api.gradebook as gradebook:
            submission = gradebook.find_submission(path.stem, student)
            found[path.stem] = 100 * submission.score / submission.max_score
    return found


def main() -> int:
    match sys.argv[1:]:
        case ["make", folder, *names]:
            make(Path(folder), names)
        case ["score", folder, student]:
            for chapter, percent in score(Path(folder), student).items():
                print(f"{chapter}: {percent:.0f} %")
        case _:
            print(__doc__, file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(ended(main))
