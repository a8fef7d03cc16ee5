"""New records cost the cells that depend on them, and no training."""

import chapters
import nbformat
import pytest
import slices
from helpers import ROOT

CELLS = [
    "profile = 'quick'",
    "import numpy as np",
    "here = chapter.begin(globals(), claims=[])",
    "open('trained', 'a').write('x')\nnet = {'weights': 1}",  # a training
    "found = records.read()\nmean = np.mean(found)",
    "net['weights'] = 2\nprint(net)",
    "def double(x):\n    return 2 * x + mean",
    "values = []\nfor x in found:\n    values.append(double(x))",
    "values = [net['weights'] for found in range(2)]",  # other values, another `found`
    "here.card",
]


def test_what_depends_on_records_and_what_that_needs():
    affected, wanted = slices.of_records(CELLS)
    assert affected == {2, 4, 6, 7, 9} and wanted == affected | {0, 1}


@pytest.mark.parametrize(
    "cell, taken, made, changed",
    [
        ("a = b + 1\nc = a", {"b"}, {"a", "c"}, set()),
        ("x = x + 1", {"x"}, {"x"}, set()),
        ("x += 1", {"x"}, {"x"}, set()),
        ("for i in many:\n    total[i] = i", {"many", "total"}, {"i"}, {"total"}),
        ("[y for y in z]\nf = lambda q: q + w", {"z", "w"}, {"f"}, set()),
        ("with opened(a) as b:\n    b.write(c)", {"opened", "a", "c"}, {"b"}, set()),
        ("a.b.append(1)\nc.d = 2", {"a", "c"}, set(), {"a", "c"}),
        ("%matplotlib inline\nif p:\n    q = r", {"p", "r"}, {"q"}, set()),
        ("def f(x):\n    y = x + g\n    return y", {"g"}, {"f"}, set()),
        ("try:\n    a = b\nexcept C as d:\n    a = str(d)", {"b", "C", "str"}, {"a", "d"}, set()),
    ],
)
def test_names(cell, taken, made, changed):
    assert slices.names(cell) == (taken, made, changed)


def test_a_chapter_of_the_same_code_runs_only_what_depends_on_records(tmp_path, monkeypatch):
    """Whole at first; then what was recorded changes; then the code."""
    monkeypatch.setattr(chapters, "digest", lambda notebook: "evidence")
    cells = [
        "from pathlib import Path",
        "Path('trained').open('a').write('x')",
        "here = 3",
        "print(Path('records.txt').read_text())",
    ]
    monkeypatch.setattr(slices, "READS", slices.re.compile(r"records\.txt"))
    path = tmp_path / "chapter.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in cells]), path)

    def run(record: str) -> tuple[str, str, bool]:
        (tmp_path / "records.txt").write_text(record)
        whole = chapters.execute(path)
        return nbformat.read(path, 4).cells[3].outputs[0].text, (tmp_path / "trained").read_text(), whole

    assert run("one") == ("one\n", "x", True)
    assert run("two") == ("two\n", "x", False)
    notebook = nbformat.read(path, 4)
    notebook.cells[2].source = "here = 4"
    nbformat.write(notebook, path)
    assert run("three") == ("three\n", "xx", True)


def test_a_stream_in_pieces_is_one():
    pieces = [nbformat.v4.new_output("stream", name=n, text=t) for n, t in (("stdout", "a"), ("stdout", "b\n"), ("stderr", "c"))]
    bar = nbformat.v4.new_output("display_data", {"text/plain": ""})
    assert [o.text for o in chapters.tidy([bar, *pieces, bar])] == ["ab\n", "c"]


def test_chapters_name_the_code_of_their_outputs():
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        notebook = nbformat.read(path, 4)
        assert notebook.metadata.get(chapters.CODE) == chapters.code_digest(notebook), f"{path.stem}: run make chapters"
