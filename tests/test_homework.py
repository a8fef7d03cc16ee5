"""Homework: every solution becomes a gap and a check, and nbgrader gives the reference everything and the gaps nothing."""

import ast
import shutil

import homework
import nbformat
import pytest

CHAPTERS = [path for path in sorted(homework.NOTEBOOKS.glob("*.ipynb")) if not path.name.startswith("14")]


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda path: path.stem)
def test_every_solution_becomes_a_gap_and_a_check(chapter):
    made = [cell for cell in homework.homework(chapter).cells if "nbgrader" in cell.metadata]
    solutions = [c for c in nbformat.read(chapter, 4).cells if "solution" in c.metadata.get("tags", [])]
    assert len(made) == 2 * len(solutions)
    for answer, checks in zip(made[::2], made[1::2], strict=True):
        assert " = None  # yours" in answer.source, f"nothing to answer: {checks.source[:80]}"
        ast.parse(answer.source), ast.parse(checks.source)
    left = "\n".join(c.source for c in homework.homework(chapter).cells if c.cell_type == "markdown")
    assert "{solution" not in left and "{exercise}" in left


def test_a_name_of_an_earlier_cell_is_no_answer():
    answer, checks = homework.parts("total = total + 1\nbest = max(1, 2)\nassert best == 2 and total")
    assert answer.startswith("best = None  # yours\n###") and checks == "assert best == 2 and total"


def test_nbgrader_gives_the_reference_everything_and_the_gaps_nothing(tmp_path):
    name = "10_results"
    homework.make(tmp_path, [name])
    for student, source in (("reference", "source"), ("stripped", "release")):
        shutil.copytree(tmp_path / source / name, tmp_path / "submitted" / student / name)
    assert homework.score(tmp_path, "reference") == {name: 100}
    assert homework.score(tmp_path, "stripped") == {name: 0}
    released = (tmp_path / "release" / name / f"{name}.ipynb").read_text()
    assert "NotImplementedError" in released and "BEGIN SOLUTION" not in released
