"""Networks that are kept beside their records, and what is made from several: averages, and the time of two processes."""

import json

import ensembles
import numpy as np
import pytest
import torch
import tower_times
from ending import ended
from helpers import ROOT, TINY, make_tree, tiny_model, tiny_training

from alexnet_lib import AlexNet, InputError
from alexnet_lib.__main__ import main
from alexnet_lib.checkpoint import load_model
from alexnet_lib.evaluation import error_rates
from alexnet_lib.evidence import experiment, networks, records, runner, verdicts
from alexnet_lib.evidence.claims import Claim

ARMS = {"ensemble": [41, 42, 43, 44], "two": [1, 2]}


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """The environment in which four tiny networks of photos10 are recorded and kept."""
    folder = tmp_path_factory.mktemp("kept")
    training = {"epochs": 1, "limit": 100, "batch_size": 20}
    plans = {
        "ensemble": {"preset": "quick", "seeds": ARMS["ensemble"], "keep": True, "model": TINY, "train": training, "arms": {"one": {}}},
        "averaged": {"preset": "quick", "seeds": [1], "by": "a tool", "arms": {"two": {"seeds": ARMS["two"]}, "four": {}}},
    }  # fmt: skip
    (folder / "plans.json").write_text(json.dumps(plans))
    with pytest.MonkeyPatch.context() as patch:
        for name in ("results", "runs"):
            patch.setenv(f"ALEXNET_{name.upper()}", str(folder / name))
        patch.setenv("ALEXNET_EXPERIMENTS", str(folder / "plans.json"))
        for _ in experiment.measure("ensemble", record=True):
            pass
        yield folder / "results"


def test_a_kept_network_gives_the_figures_of_its_record(kept, capsys):
    path = kept / "ensemble" / "one-seed42.network.safetensors"
    record = records.read(kept / "ensemble" / "one-seed42.json")
    assert record["network"] == networks.facts_of(path) and path.stat().st_size == record["network"]["bytes"] < 60_000
    assert main(["evaluate", str(path)]) == 0
    said = capsys.readouterr()
    assert "mean image" not in said.err  # it has its own with it
    assert [f"{record['metrics'][f'test_{name}']:.3f}" for name in ("top1_error", "top5_error", "loss")] == [
        line.split()[1] for line in said.out.splitlines()[:3]
    ]
    net, facts = load_model(path)
    assert facts["classes"] and facts["train"]["data"] == "photos10" and facts["mean_image"].shape == (32, 32, 3)
    for weights in net.state_dict().values():
        assert weights.dtype == torch.float32 and torch.equal(weights, weights.half().float())


def test_networks_are_averaged_in_disjoint_groups(kept, monkeypatch, capsys):
    monkeypatch.setattr(ensembles, "SIZES", {"two": 2, "four": 4})
    monkeypatch.setattr("sys.argv", ["ensembles.py", "--data", "photos10", "--record"])
    assert ended(ensembles.main) == 0
    made = records.read_experiment("averaged")
    assert [(r["arm"], r["seed"], len(r["networks"])) for r in made] == [("four", 1, 4), ("two", 1, 2), ("two", 2, 2)]
    assert made[2]["networks"] == ["ensemble/one-seed43", "ensemble/one-seed44"]
    each = [records.read(kept / "ensemble" / f"one-seed{seed}.json")["metrics"]["test_loss"] for seed in (43, 44)]
    metrics = made[2]["metrics"]
    assert metrics["members_loss"] == pytest.approx(np.mean(each)) and metrics["test_loss"] < metrics["members_loss"]
    assert metrics["test_top1_error"] == pytest.approx(100 * np.mean(records.ranks(made[2]) > 0))
    rule = {"kind": "difference", "metric": "test_loss", "against": "members_loss", "effect": None, "toward": -1, "margin": 1e-9}
    claim = Claim("x", "6", "x", "x", rule, experiment="averaged", arm="two")
    found = verdicts.judge(claim)
    assert found.seeds == 2 and found.word in (verdicts.SAME_DIRECTION, verdicts.UNDECIDED) and found.interval[0] < 0


def test_groups_leave_out_what_is_left_over():
    assert ensembles.groups(15, 2) == [(first, first + 2) for first in range(0, 14, 2)]
    assert ensembles.groups(15, 5) == [(0, 5), (5, 10), (10, 15)] and ensembles.groups(15, 10) == [(0, 10)]


def test_a_network_or_data_of_another_record_is_refused(kept, tmp_path, monkeypatch, capsys):
    record = records.read(kept / "ensemble" / "one-seed41.json")
    with pytest.raises(InputError, match=r"one-seed41\.network\.safetensors is not the network of its record"):
        ensembles.recomputed(record | {"network": {"bytes": 1, "sha256": "0"}}, "photos10")
    make_tree(tmp_path / "tree", [f"{split}/{name}" for split in ("train", "val") for name in "ab"])
    with pytest.raises(InputError, match="has other test images than the record"):
        ensembles.recomputed(record, f"folder:{tmp_path / 'tree'}")
    wrong = record["metrics"] | {"test_top1_error": record["metrics"]["test_top1_error"] + 1}
    with pytest.raises(InputError, match=r"gives .* %, its record has"):
        ensembles.recomputed(record | {"metrics": wrong}, "photos10")
    monkeypatch.setattr(ensembles, "planned_runs", lambda name: [record])
    monkeypatch.setattr("sys.argv", ["ensembles.py", "--data", "photos10"])
    assert ended(ensembles.main) == 1
    assert "1 of 4 networks of ensemble are recorded: python -m alexnet_lib experiments" in capsys.readouterr().err


def test_what_another_command_makes_is_not_trained(kept, capsys):
    assert not [task for task in runner.tasks() if task.experiment == "averaged"] and runner.tasks(["ensemble"])
    for words in (["measure", "averaged"], ["experiments", "--only", "averaged/two"]):
        assert main(words) == 1
        assert capsys.readouterr().err.endswith("error: averaged trains nothing: a tool makes its records\n")


def test_a_scalar_mean_is_one_number_for_all_sets_of_a_run():
    for mean, constant in (("image", False), ("scalar", True)):
        sets = experiment.open_sets(tiny_training(mean=mean), tiny_model())
        means = [each.mean_image for each in sets.values()]
        assert all((np.ptp(m) == 0) == constant for m in means) and all(np.array_equal(means[0], m) for m in means)
        assert means[0].mean() == pytest.approx(sets["train"].mean_image.mean())


def test_committed_networks_are_those_of_their_records():
    found = sorted((ROOT / "results").rglob("*.network.safetensors"))
    kept = {path for path in (ROOT / "results").rglob("*.json") if "network" in records.read(path)}
    assert {records.network_path(path) for path in kept} == set(found) and found
    for path in kept:
        record = records.read(path)
        assert networks.facts_of(records.network_path(path)) == record["network"] and record["network"]["bytes"] < 3e6
    net, facts = load_model(found[0])
    first = records.read(found[0].with_name(found[0].name.replace(".network.safetensors", ".json")))
    assert facts["data"] == first["data"]["train"]["checksum"] and isinstance(net, AlexNet)


def test_committed_averages_are_of_the_networks_that_they_name():
    made = [records.read(path) for path in sorted((ROOT / "results" / "averaged").glob("*.json"))]
    assert made
    for record in made:
        members = [records.read(ROOT / "results" / f"{name}.json") for name in record["networks"]]
        assert len(members) == ensembles.SIZES[record["arm"]]
        errors = [member["metrics"]["test_top1_error"] for member in members]
        assert record["metrics"]["members_top1_error"] == pytest.approx(np.mean(errors))
        assert {m["data"]["test"]["checksum"] for m in members} == {record["data"]["test"]["checksum"]}
    seen = {name for record in made if record["arm"] == "two" for name in record["networks"]}
    assert len(seen) == 2 * sum(record["arm"] == "two" for record in made)  # none in two groups


def test_two_processes_are_timed_in_turns(tmp_path, monkeypatch, capsys):
    calls, seconds = [], {"towers": iter((3.0, 1.0) * 9), "one_gpu": iter((2.0,) * 9)}

    def run_in_processes(function, side, config, batch, steps, processes, timeout):
        calls.append((side, config.name, processes))
        return [{"seconds": next(seconds[side])} for _ in range(processes)]

    monkeypatch.setattr(tower_times, "run_in_processes", run_in_processes)
    monkeypatch.setattr(tower_times, "plan_of", lambda name: {"seeds": [1, 2]})
    monkeypatch.setattr(tower_times, "cores", lambda: 2)
    monkeypatch.setenv("ALEXNET_RUNS", str(tmp_path))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setattr("sys.argv", ["tower_times.py"])
    assert ended(tower_times.main) == 0
    one, two = ("one_gpu", "one_gpu", 1), ("towers", "paper", 2)
    assert calls == [one, two, two, one]
    record = records.read(tmp_path / "tower_times" / "towers-seed1.json")
    assert record["metrics"] == {"time_change": 50.0, "towers_seconds": 3.0, "one_gpu_seconds": 2.0}  # the slower tower's time
    monkeypatch.setenv("ALEXNET_RESULTS", str(tmp_path))
    monkeypatch.setattr("sys.argv", ["tower_times.py", "--record"])
    capsys.readouterr()
    assert (
        ended(tower_times.main) == 0 and len(calls) == 4 and capsys.readouterr().out == "1: recorded before\n2: recorded before\n"
    )
    monkeypatch.setattr(tower_times, "cores", lambda: 1)
    assert ended(tower_times.main) == 1 and "need two cores" in capsys.readouterr().err
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert ended(tower_times.main) == 1 and "set OMP_NUM_THREADS=1" in capsys.readouterr().err


def test_rates_of_an_average_come_from_the_mean_of_the_softmax():
    probabilities = torch.tensor([[[0.9, 0.1], [0.6, 0.4]], [[0.8, 0.2], [0.1, 0.9]]])  # (networks, images, classes)
    member = {"seed": 41, "data": {}, "training_seconds": 1.0, "metrics": dict.fromkeys(("test_top1_error", "test_top5_error", "test_loss"), 50.0)}  # fmt: skip
    made = ensembles.averaged("two", 1, [member, member], probabilities, torch.tensor([0, 1]))
    assert made["metrics"]["test_top1_error"] == 0.0 and made["metrics"]["members_top1_error"] == 50.0
    assert made["metrics"]["test_loss"] == pytest.approx(error_rates(probabilities.mean(0), torch.tensor([0, 1]))["loss"])
