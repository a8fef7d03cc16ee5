"""Run records: read back or refused, and those in results/ are whole."""

import errno
import json
import os
import random
import re
import shutil
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from helpers import ROOT, tries

from alexnet_lib import InputError, ModelConfig, TrainConfig, introspection
from alexnet_lib.config import preset
from alexnet_lib.evidence import records
from alexnet_lib.evidence.kernels import load_kernels


def test_records_are_read_back_or_refused(tmp_path):
    record = {"experiment": "e", "arm": "a", "seed": 3, "metrics": {"x": 1.0}}
    path = records.write(record, records.results_path(record, tmp_path))
    assert path == tmp_path / "e" / "a-seed3.json" and records.read(path) == record | {"checksum": records.checksum(record)}
    (tmp_path / "bad.json").write_text("{")
    (tmp_path / "other.json").write_text("{}")
    for name, words in (("bad", "is not a record"), ("other", "it has no arm"), ("absent", "no record at")):
        with pytest.raises(InputError, match=words):
            records.read(tmp_path / f"{name}.json")
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write the record"):
        records.write(record, tmp_path / "file" / "x.json")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"experiment": "e", "arm": "a", "seed": 3, "metrics": {"x": NaN}}', "NaN is no number of JSON"),
        ('{"experiment": "e", "arm": "a", "seed": 3, "metrics": {"x": -Infinity}}', "-Infinity is no number of JSON"),
        ('{"experiment": "e", "arm": "a", "seed": 3, "metrics": [1]}', "its metrics have no names"),
        ('{"experiment": "e", "arm": "a", "seed": 3, "metrics": {"x": 1e999}}', "1e999 is no finite number"),
        ("[" * 100_000, "recursion"),
    ],
)
def test_what_no_run_writes_is_no_record(tmp_path, text, words):
    (tmp_path / "a-seed3.json").write_text(text)
    with pytest.raises(InputError, match=f"is not a record: .*{words}"):
        records.read(tmp_path / "a-seed3.json")


@pytest.mark.parametrize("published", [True, False])
def test_what_is_measured_in_one_go_is_kept_and_named(tmp_path, monkeypatch, capsys, published):
    monkeypatch.setenv("ALEXNET_RESULTS", str(tmp_path / "results"))
    monkeypatch.setenv("ALEXNET_RUNS", str(tmp_path / "runs"))
    path = records.keep({"experiment": "e", "arm": "a", "seed": 3, "metrics": {"x": 1.0}}, published)
    assert path == tmp_path / ("results" if published else "runs") / "e" / "a-seed3.json"
    assert records.read(path)["metrics"] == {"x": 1.0} and capsys.readouterr().out == f"record: {path}\n"


def test_every_committed_record_is_whole():
    for path in records.results_root().rglob("*.json"):
        record = records.read(path)
        assert records.results_path(record) == path
        assert record["environment"]["commit"] != "unknown" and record["environment"]["processor"]


def test_committed_kernels_are_those_of_their_records():
    found = sorted(records.results_root().rglob("*.kernels.safetensors"))
    assert found
    for path in found:
        record = records.read(path.with_name(path.name.replace(".kernels.safetensors", ".json")))
        weights = load_kernels(path)
        conv1, towers = record["model"]["conv1"], record["model"]["towers"]
        assert weights.shape == (conv1["kernels"], 3, conv1["size"], conv1["size"])
        parts = introspection.colour_selectivity(weights).chunk(towers)
        assert [part.tolist() for part in parts] == [pytest.approx(tower, abs=2e-3) for tower in record["colour_selectivity"]]
        if towers == 2:
            gap = abs(parts[0].mean() - parts[1].mean()).item()
            assert gap == pytest.approx(record["metrics"]["tower_selectivity_gap"], abs=2e-3)


def test_a_record_names_its_data_and_no_folder_of_this_machine(tmp_path):
    train = TrainConfig(data=f"folder:{tmp_path}")
    facts = {"name": "few", "split": "train", "images": 3, "size": 8, "checksum": "0"}
    result = SimpleNamespace(step=1, seconds=1.0, first_losses=[], curve=[], processes=1)
    record = records.make(
        "e", "a", model=ModelConfig.preset("small"), train=train, data={"train": facts}, result=result, metrics={}
    )
    assert record["train"]["data"] == "few" and str(tmp_path) not in json.dumps(record)
    assert TrainConfig.from_dict(record["train"]) == replace(train, data="few")


def test_no_tracked_file_names_a_place_on_some_machine():
    if not (ROOT / ".git").exists():
        pytest.skip("not a checkout")
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
    texts = [name for name in tracked if name.endswith((".json", ".ipynb", ".md", ".yml", ".py", ".toml", ".txt", "Makefile"))]
    place = re.compile(r"(?<![\w.~$}])/(?:home|root|tmp|work|Users)/\w")
    found = {name: place.findall((ROOT / name).read_text()) for name in texts if (ROOT / name).exists()}
    assert {name for name, places in found.items() if places} <= {"tests/test_sources.py"}  # archives with evil members


def test_a_digit_that_changed_is_noticed(tmp_path):
    record = {"experiment": "e", "arm": "a", "seed": 3, "metrics": {"x": 12.25}}
    path = records.write(record, tmp_path / "x.json")
    path.write_text(path.read_text().replace("12.25", "12.35"))
    with pytest.raises(InputError, match="checksum does not match"):
        records.read(path)
    with pytest.raises(ValueError):
        records.write(record | {"metrics": {"x": float("nan")}}, tmp_path / "y.json")
    assert not (tmp_path / "y.json").exists()


@tries(40, 200)
def test_damage_of_a_record_is_noticed(tmp_path, tries, counted):
    """A bit flipped anywhere, or the end cut off. What says the same in other letters is the same."""
    dice = random.Random(0)
    record = {"experiment": "e", "arm": "a", "seed": 3, "metrics": {"x": 12.25, "y": 1.5e-7}, "curve": [{"epoch": 1}] * 9}
    path = records.write(record, tmp_path / "x.json")
    whole, right = path.read_bytes(), records.read(path)
    for turn in range(tries):
        at = dice.randrange(len(whole) - 1)
        path.write_bytes(
            whole[:at] if turn % 4 == 0 else whole[:at] + bytes([whole[at] ^ 1 << dice.randrange(8)]) + whole[at + 1 :]
        )
        try:
            assert records.read(path) == right, at
        except InputError as error:
            assert "\n" not in str(error) and path.name in str(error)
    counted("a bit flipped in a record, or its end cut off", "named when it is read", tries, tries)


def test_a_bit_flipped_anywhere_in_a_record_is_noticed(tmp_path):
    """At every place, the names of its parts and of the checksum included."""
    record = {"experiment": "e", "arm": "a", "seed": 3, "metrics": {"x": 12.25}, "curve": [1e20]}
    path = records.write(record, tmp_path / "x.json")
    text, right, refused = path.read_bytes(), records.read(path), 0
    for at in range(len(text)):
        for bit in range(8):
            path.write_bytes(text[:at] + bytes([text[at] ^ 1 << bit]) + text[at + 1 :])
            try:
                assert records.read(path) == right, (at, bit)
            except InputError as error:
                refused += path.name in str(error) and "\n" not in str(error)
    assert refused > 6 * len(text)
    path.write_text(json.dumps(record))
    with pytest.raises(InputError, match=r"it has no checksum\. Take it from version control"):
        records.read(path)


def test_a_record_comes_after_its_kernels(tmp_path, monkeypatch):
    """A run that is killed between the two, or a disk that is full by then, leaves no record without them."""
    monkeypatch.setenv("ALEXNET_RESULTS", str(tmp_path / "results"))
    record = {"experiment": "e", "arm": "a", "seed": 3, "metrics": {"x": 1.0}}
    written = records.write(record, tmp_path / "run" / "record.json")
    records.kernels_path(written).write_bytes(b"kernels")

    def full(source, target):
        Path(target).write_bytes(b"ker")
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(shutil, "copyfile", full)
        with pytest.raises(InputError, match=r"cannot write .*kernels.safetensors: No space left on device; free some space"):
            records.publish(record, written)
    assert not [path for path in (tmp_path / "results").rglob("*") if path.is_file()]
    assert records.publish(record, written).exists()


FULL = """
import resource, sys
from pathlib import Path
import torch
from alexnet_lib import InputError
from alexnet_lib.evidence import kernels, records

class Net:
    config = type("Config", (), {"towers": 1})

kernels.kernels = lambda net: torch.ones(8, 3, 5, 5)
record = {"experiment": "e", "arm": "a", "seed": 3, "metrics": {"x": 1.0}}
path = records.write(record, Path(sys.argv[1]) / "record.json")
every = {
    "record": lambda: records.write(record | {"curve": list(range(9999))}, path),
    "kernels": lambda: kernels.save_kernels(Net, records.kernels_path(path)),
    "probabilities": lambda: records.save_probabilities(torch.ones(500, 10).half(), path),
}
for write in list(every.values())[1:]:
    write()
before = {file.name: file.read_bytes() for file in path.parent.iterdir()}
resource.setrlimit(resource.RLIMIT_FSIZE, (500, resource.RLIM_INFINITY))
for name, write in every.items():
    try:
        write()
    except InputError as error:
        print(name, error)
assert {file.name: file.read_bytes() for file in path.parent.iterdir()} == before
"""


def test_a_disk_that_is_full_for_a_record_and_what_lies_beside_it(tmp_path):
    """As with a quota: the system refuses in the middle of a file. Each gets one line, and what was there stays."""
    done = subprocess.run([sys.executable, "-c", FULL, str(tmp_path)], cwd=ROOT, capture_output=True, text=True)
    said = done.stdout.splitlines()
    assert done.returncode == 0 and [line.split()[0] for line in said] == ["record", "kernels", "probabilities"], done.stderr
    assert all("cannot write" in line and "File too large; allow larger files" in line for line in said), said


def test_damage_is_looked_for_where_the_language_is_c():
    """Records, claims and chapters are UTF-8, whatever the machine would take text for."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("LC_", "LANG", "PYTHON"))}
    plain |= {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = subprocess.run(
        [sys.executable, "-m", "alexnet_lib", "claims", "--check"], cwd=ROOT, env=plain, capture_output=True, text=True
    )
    assert "records are whole" in done.stdout or done.stderr.startswith("error: made from other records than there are now")
    assert "Traceback" not in done.stderr


def test_the_folder_of_a_run_on_data_of_a_long_name_can_be_made(tmp_path):
    folder = tmp_path / ("x" * 250)
    folder.mkdir()
    where = records.run_dir("e", "a", TrainConfig(data=str(folder)), "photos10")
    where.mkdir(parents=True)
    assert re.fullmatch(r"a-x{50}-[0-9a-f]{6}-seed0", where.name)


def test_publishing_copies_record_and_kernels(tmp_path, monkeypatch):
    monkeypatch.setenv("ALEXNET_RESULTS", str(tmp_path / "results"))
    record = {"experiment": "e", "arm": "a", "seed": 3, "metrics": {"x": 1.0}}
    written = records.write(record, tmp_path / "run" / "record.json")
    records.kernels_path(written).write_bytes(b"kernels")
    path = records.publish(record, written)
    assert path == tmp_path / "results" / "e" / "a-seed3.json" and records.read(path)["metrics"] == {"x": 1.0}
    assert records.kernels_path(path).read_bytes() == b"kernels"
    assert [r["seed"] for r in records.read_experiment("e")] == [3] and records.read_experiment("none") == []


@pytest.mark.parametrize("place", ["e/a-seed3 (copy).json", "other/a-seed3.json"])
def test_a_copy_of_a_record_does_not_count_as_another_run(tmp_path, monkeypatch, place):
    monkeypatch.setenv("ALEXNET_RESULTS", str(tmp_path))
    record = {"experiment": "e", "arm": "a", "seed": 3, "metrics": {"x": 1.0}}
    records.write(record, records.results_path(record)), records.write(record, tmp_path / place)
    with pytest.raises(InputError, match=r"is the record of e/a-seed3\.json, whatever it is called: move it away"):
        records.read_experiment(place.split("/")[0])


def test_the_record_of_another_run_is_not_overwritten(tmp_path, monkeypatch):
    """One of other data, for example: both are called by their experiment, arm and seed."""
    monkeypatch.setenv("ALEXNET_RESULTS", str(tmp_path / "results"))
    model, train = (asdict(config) for config in preset("quick"))
    record = {"experiment": "e", "arm": "a", "seed": 3, "metrics": {"x": 1.0}, "model": model, "train": train, "data": {"n": 1}}
    path = records.publish(record, tmp_path / "record.json")
    assert records.publish(record | {"metrics": {"x": 2.0}}, tmp_path / "record.json") == path  # the same, measured again
    before = path.read_bytes()
    for change in ({"data": {"n": 2}}, {"train": train | {"lr": 0.5}}, {"model": model | {"dropout": 0.0}}):
        with pytest.raises(InputError, match=r"a-seed3\.json is of a run with another network, training or data: move it away"):
            records.publish(record | change, tmp_path / "record.json")
    assert path.read_bytes() == before


def test_a_run_on_the_processor_of_a_machine_with_a_card_says_so(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device=None: f"card {device}")
    assert records.environment(torch.device("cpu"))["device"] == "cpu"
    assert records.environment(torch.device("cuda:1"))["device"] == "card cuda:1"
    assert records.environment()["device"] == "card None"


def test_a_copy_without_git_is_told_its_commit(monkeypatch, tmp_path):
    monkeypatch.setattr(records, "REPOSITORY", tmp_path)
    assert records.commit() == "unknown"
    monkeypatch.setenv("ALEXNET_COMMIT", "0123abc")
    assert records.commit() == "0123abc"


def test_the_commit_of_another_repository_is_not_taken_for_ours(monkeypatch, tmp_path):
    """One around the environment that the library is installed in, or the one whose hook runs this."""
    for words in (["init", "-q"], ["-c", "user.name=x", "-c", "user.email=x", "commit", "-q", "--allow-empty", "-m", "x"]):
        subprocess.run(["git", *words], cwd=tmp_path, check=True)
    (tmp_path / "site-packages").mkdir()
    monkeypatch.setattr(records, "REPOSITORY", tmp_path / "site-packages")
    assert records.commit() == "unknown"
    monkeypatch.setenv("GIT_DIR", str(tmp_path / ".git"))
    assert records.commit() == "unknown"
    monkeypatch.setattr(records, "REPOSITORY", tmp_path)
    assert len(records.commit()) == 40
