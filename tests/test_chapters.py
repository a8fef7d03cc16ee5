"""Every chapter has what the standard of a chapter asks for, and runs under papermill with another seed."""

import json
import re
import subprocess
import sys

import nbformat
import pytest
from helpers import ROOT
from slices import names

from alexnet_lib import InputError, ModelConfig, TrainConfig
from alexnet_lib.book import chapter, current
from alexnet_lib.evidence import records

CHAPTERS = sorted(path for path in (ROOT / "notebooks").glob("*.ipynb") if not path.name.startswith("14"))
HEADINGS = ("From scratch", "measured", "2012 source", "Common mistakes", "Exercises", "Verdict")
each_chapter = pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)


def cells(path, kind: str) -> list:
    return [cell for cell in nbformat.read(path, 4).cells if cell.cell_type == kind]


def tags(cell) -> list[str]:
    return cell.metadata.get("tags", [])


def prose(path) -> str:
    return "\n".join(cell.source for cell in cells(path, "markdown"))


@each_chapter
def test_a_chapter_has_its_parts(path):
    text = prose(path)
    for heading in HEADINGS:
        assert re.search(rf"^#+ .*{heading}", text, re.MULTILINE | re.IGNORECASE), f"no heading with {heading!r}"
    assert "After this chapter you can" in text and "**In three lines.**" in text and "**Next.**" in text
    assert "{cite}`" in text and "{term}`" in text and "{doc}`" in text
    code = "\n".join(cell.source for cell in cells(path, "code"))
    for call in ("chapter.begin(", "here.card", "here.measured()", "here.verdict()"):
        assert call in code, f"no cell with {call}"
    assert "parameters" in tags(cells(path, "code")[0])


def test_outputs_were_made_from_the_records_that_there_are():
    """What nbval finds in minutes, in a moment: `make chapters` executes those again whose records have changed."""
    assert not [path.stem for path in current.stale()]


def test_a_notebook_that_is_none_is_named(tmp_path, monkeypatch):
    """After a merge that left its marks, for example."""
    monkeypatch.setattr(current, "NOTEBOOKS", tmp_path)
    for text in ("<<<<<<< HEAD", "[]", "{}"):
        (tmp_path / "01.ipynb").write_text(text)
        with pytest.raises(InputError, match=r"01\.ipynb is no notebook"):
            current.stale()


def test_a_new_record_makes_those_chapters_stale_that_read_it(tmp_path, monkeypatch):
    monkeypatch.setenv("ALEXNET_RESULTS", str(tmp_path))
    before = {path: current.digest(json.loads(path.read_text())) for path in CHAPTERS}
    records.write(
        {"experiment": "relu_2012", "arm": "relu", "seed": 1, "metrics": {}}, tmp_path / "relu_2012" / "relu-seed1.json"
    )
    after = {path: current.digest(json.loads(path.read_text())) for path in CHAPTERS}
    changed = {path.stem for path in CHAPTERS if before[path] != after[path]}
    assert "01_relu" in changed and "04_overlapping_pooling" not in changed


def test_a_changed_claim_makes_those_chapters_stale_that_name_it_or_all(tmp_path, monkeypatch):
    claims = json.loads(current.LEDGER.read_text())
    next(claim for claim in claims if claim["id"] == "overlap")["remark"] = "another"
    (tmp_path / "claims.json").write_text(json.dumps(claims))
    before = {path: current.digest(json.loads(path.read_text())) for path in CHAPTERS}
    monkeypatch.setattr(current, "LEDGER", tmp_path / "claims.json")
    changed = {path.stem for path in CHAPTERS if before[path] != current.digest(json.loads(path.read_text()))}
    assert {"04_overlapping_pooling", "12_the_2012_code"} <= changed and "01_relu" not in changed


@each_chapter
def test_exercises_have_solutions_that_assert(path):
    text = prose(path)
    exercises = re.findall(r"{exercise}[^\n]*\n:label: (\S+)", text)
    assert len(exercises) >= 3 and re.findall(r"{solution-start} (\S+)\n:class: dropdown", text) == exercises
    solutions = [cell for cell in cells(path, "code") if "solution" in tags(cell)]
    assert len(solutions) >= len(exercises) and all(re.search(r"^\s*assert ", cell.source, re.MULTILINE) for cell in solutions)


@each_chapter
def test_no_cell_reads_a_name_that_the_solution_of_another_exercise_made_over(path):
    made_by, exercise = {}, 0  # name: (exercise whose solution made it last or None, whether something made it before)
    for cell in nbformat.read(path, 4).cells:
        if cell.cell_type != "code":
            exercise += cell.source.count("{solution-start}")
            continue
        taken, made, _ = names(cell.source)
        lost = {name for name in taken & set(made_by) if made_by[name][1] and made_by[name][0] not in (None, exercise)}
        assert not lost, f"{sorted(lost)}: {cell.source[:80]}"
        made_by |= {name: (exercise if "solution" in tags(cell) else None, name in made_by) for name in made}


@each_chapter
def test_most_outputs_are_compared(path):
    code = cells(path, "code")
    ignored = [cell for cell in code if "nbval-ignore-output" in tags(cell)]
    assert len(ignored) <= len(code) / 5, f"{len(ignored)} of {len(code)} cells are not compared"
    assert not any("nbval-skip" in tags(cell) for cell in code)


@each_chapter
def test_figures_have_words_in_their_place(path):
    figures = 0
    for cell in cells(path, "code"):
        kinds = {kind for output in cell.outputs for kind in output.get("data", {})}
        if kinds & {"image/png", "image/svg+xml"}:
            figures += 1
            words = cell.metadata.get("mystnb", {}).get("image", {}).get("alt", "")
            assert len(words.split()) >= 5, f"no alt text: {cell.source[:80]}"
        figures += "text/html" in kinds
    assert figures >= 3


@each_chapter
def test_outputs_are_fit_to_print(path):
    for cell in cells(path, "code"):
        for output in cell.outputs:
            assert output.output_type != "error" and output.get("name") != "stderr", cell.source[:80]
            assert output.get("data") != {"text/plain": ""}, f"a progress bar was here: {cell.source[:80]}"
            text = output.get("text", "") + str(output.get("data", {}).get("text/plain", ""))
            assert not re.search(r"/(home|root|tmp|work|usr)/|Warning|it/s\]", text), text[:200]


every_notebook = pytest.mark.parametrize("path", sorted((ROOT / "notebooks").glob("*.ipynb")), ids=lambda path: path.stem)


@every_notebook
def test_pictures_and_sliders_are_numbered_and_have_a_caption(path):
    """All that is drawn, but for the card of claims: without a name a figure has no number."""
    named = []
    for cell in cells(path, "code"):
        drawn = [data for data in (output.get("data", {}) for output in cell.outputs) if {"image/png", "text/html"} & set(data)]
        if any('class="claims"' not in data.get("text/html", "") for data in drawn):
            figure = cell.metadata.get("mystnb", {}).get("figure", {})
            assert figure.get("name", "").startswith("fig-") and len(figure.get("caption", "").split()) >= 6, cell.source[-80:]
            named.append(figure["name"])
    assert len(named) == len(set(named))


@every_notebook
def test_letters_of_figures_have_nine_points_or_more(path):
    code = "\n".join(cell.source for cell in cells(path, "code"))
    assert re.findall(r"(?:font|label)size=[0-8](?:\.\d+)?\b", code) == []


@each_chapter
def test_the_copy_of_cifar10_leads_to_its_data_card(path):
    said = [cell.source for cell in cells(path, "markdown") if re.search(r"\bcopy\b[^.]*\bJPEG\s+files", cell.source)]
    assert said and all("{doc}`/book/data_cards`" in text for text in said)


@pytest.mark.parametrize("label", ["02-kept", "09-start", "09-velocity", "10-chance", "11-random", "12-overhang", "13-ridge"])
def test_a_solution_refuses_a_wrong_answer(label):
    (path,) = (ROOT / "notebooks").glob(f"{label[:2]}_*.ipynb")
    text = "\0".join(cell.source for cell in nbformat.read(path, 4).cells)
    solution = text.split(f"{{solution-start}} {label}\n")[1].split("{solution-end}")[0]
    assert re.search(r"^ *assert (not |.* != )", solution, re.MULTILINE)


def test_a_section_is_not_cut_by_another():
    """The ring's figure and code once stood below the heading on busy programs, which had come between."""
    text = "\n".join(cell.source for cell in nbformat.read(ROOT / "notebooks" / "13_scaling.ipynb", 4).cells)
    assert re.findall(r"^## (.*)", text.split("def ring_turns")[0], re.MULTILINE)[-1] == "Messages: the ring"


@every_notebook
def test_neither_code_nor_what_it_prints_is_wider_than_a_page(path):
    """In characters: a longer line scrolls sideways, behind a fold too, and is cut in print."""
    texts = [cell.source for cell in cells(path, "code")]
    for output in (output for cell in cells(path, "code") for output in cell.outputs):
        if output.output_type == "stream":
            texts.append(output.text)
        elif set(output.get("data", ())) == {"text/plain"}:
            texts.append(output.data["text/plain"])
    assert [line for text in texts for line in text.splitlines() if len(line) > 86] == []


@each_chapter
def test_another_seed_under_papermill(path, tmp_path):
    command = [sys.executable, "-m", "papermill", str(path), str(tmp_path / "out.ipynb"), "-p", "seed", "1", "-k", "python3"]
    done = subprocess.run([*command, "--no-progress-bar"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]


def test_a_mistyped_parameter_stops_a_chapter(tmp_path):
    command = [
        sys.executable,
        "-m",
        "papermill",
        str(CHAPTERS[0]),
        str(tmp_path / "out.ipynb"),
        "-p",
        "sead",
        "1",
        "-k",
        "python3",
    ]
    done = subprocess.run([*command, "--no-progress-bar"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode != 0 and "unknown parameter 'sead'. Did you mean 'seed'" in done.stderr


GOOD = {"profile": "quick", "seed": 0, "rerun": False}


@pytest.mark.parametrize(
    "change, said",
    [
        ({"profile": "paper"}, "a chapter's profile is quick or laptop"),
        ({"rerun": 1}, "rerun must be bool"),
        ({"reruns": True}, "Did you mean 'rerun'"),
    ],
)
def test_parameters_of_a_chapter(change, said):
    assert chapter.begin(GOOD, ["lrn"]).seed == 0
    with pytest.raises(InputError, match=said):
        chapter.begin(GOOD | change, ["lrn"])


def test_a_short_training_keeps_to_its_limit():
    here = chapter.begin(GOOD, ["lrn"])
    train_set, _ = here.data()
    few = TrainConfig.preset("quick", epochs=1, batch_size=8, limit=24)
    assert here.train(ModelConfig.preset("small"), few, train_set)[1].step == 3


def test_what_is_shown_is_the_library_s_own_source():
    text = chapter.show(chapter.begin).data
    assert text.startswith("```python\ndef begin(namespace") and text.endswith("\n```")


def test_a_busy_machine_prints_nothing_into_a_page(monkeypatch):
    """A kernel's stream writes to stderr, and so into a cell, when a flush takes longer than its patience of ten seconds."""

    class Stream:
        flush_timeout = 10

    monkeypatch.setattr("sys.stdout", Stream())
    chapter.begin(GOOD, ["lrn"])
    assert sys.stdout.flush_timeout >= 300
