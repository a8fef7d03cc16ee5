"""The tools: what they are given wrongly gets one line, and what they write is there whole or as it was."""

import importlib
import runpy
import sys

import draw_network
import ending
import launch
import pytest
from helpers import ROOT


def test_a_disk_that_refuses_gets_one_line_and_ctrl_c_none(capsys):
    def refused():
        raise PermissionError(13, "Permission denied", "/there")

    def stopped():
        raise KeyboardInterrupt

    assert ending.ended(lambda: None) == 0 and ending.ended(lambda: 3) == 3
    assert ending.ended(stopped) == 130 and not capsys.readouterr().err
    assert ending.ended(refused) == 1
    assert capsys.readouterr().err == "error: /there: Permission denied; name a folder that you may write to\n"


@pytest.mark.parametrize(
    ("tool", "words", "said"),
    [
        ("colours", ["nosuch"], "unknown data set 'nosuch'"),
        ("jpeg", ["nosuch"], "unknown data set 'nosuch'"),
        ("draw_network", ["nosuch"], "unknown preset 'nosuch'"),
        ("homework", ["make", "course", "10_reslts"], "Did you mean '10_results'?"),
        ("homework", ["make", "course", "14_reproduction"], "14_reproduction has no exercises"),
        ("homework", ["score", "course", "nobody"], "no notebook in course/submitted/nobody"),
    ],
)
def test_what_does_not_exist_is_named_in_one_line(tool, words, said, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [f"{tool}.py", *words])
    assert ending.ended(importlib.import_module(tool).main) == 1
    found = capsys.readouterr().err
    assert found.startswith("error: ") and said in found and found.count("\n") == 1


@pytest.mark.parametrize(
    ("tool", "words"),
    [
        ("machine", ["--rounds", "0"]),
        ("measure_towers", ["--steps", "0"]),
        ("measure_towers", ["--batch", "1"]),
        ("translations", ["--acept"]),
    ],
)
def test_what_is_no_choice_is_refused_before_any_work(tool, words, monkeypatch):
    monkeypatch.setattr(sys, "argv", [f"{tool}.py", *words])
    with pytest.raises(SystemExit, match="2"):
        importlib.import_module(tool).main()


@pytest.mark.parametrize("tool", ["live", "rates", "readme"])
def test_who_asks_for_help_starts_no_work(tool, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [f"{tool}.py", "--help"])
    with pytest.raises(SystemExit, match="0"):
        runpy.run_path(ROOT / "tools" / f"{tool}.py", run_name="__main__")
    assert capsys.readouterr().out.startswith(f"usage: {tool}.py")


def test_a_picture_that_cannot_be_written_stays_as_it_was(tmp_path, monkeypatch):
    (tmp_path / "network.svg").write_text("before")
    monkeypatch.setattr(draw_network, "overview", lambda config: "half" + "\ud800")
    monkeypatch.setattr(sys, "argv", ["draw_network.py", "quick", str(tmp_path / "network.svg")])
    with pytest.raises(UnicodeEncodeError):
        draw_network.main()
    assert [path.read_text() for path in tmp_path.iterdir()] == ["before"]


def test_a_mistyped_option_is_no_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["launch.py", "address", "--inplace"])
    assert launch.main() == 2 and not list(tmp_path.iterdir())
