"""The experiments of experiments.json: every arm can be built, and measuring writes a record once."""

import json
from dataclasses import replace

import pytest
import rates
import torch
from helpers import TINY, tiny_model

from alexnet_lib import AlexNet, InputError
from alexnet_lib.evidence import experiment, plans, records

PLANS = plans.plans()


@pytest.mark.parametrize("name", [name for name, plan in PLANS.items() if "by" not in plan])
def test_every_arm_can_be_built_and_differs_from_the_others(name):
    arms, seeds = experiment.arms(name)
    assert len(seeds) == len(set(seeds)) >= 1 and PLANS[name]["about"]
    for arm in arms.values():
        AlexNet(arm.model)
    assert len({(arm.model, arm.train) for arm in arms.values()}) == len(arms)


def test_arms_of_the_ablations_are_what_their_names_say():
    arms, _ = experiment.arms("ablations")
    whole = arms["whole"].model
    shapes = {name: AlexNet(arm.model).feature_shape for name, arm in arms.items()}
    alike = ("one_gpu", "no_overlap", "without_conv2", "without_conv4", "three_convs", "six_convs")
    assert {shapes[name] for name in alike} == {shapes["whole"]}  # so that the fully connected layers are as large
    kernels = [[getattr(arms[a].model, f"conv{i}").kernels for i in range(1, 6)] for a in ("whole", "one_gpu")]
    assert [a // b for a, b in zip(*kernels, strict=True)] == [2, 2, 2, 2, 1]
    pools = [sum(conv.then.count("pool") for _, conv in arm.model.convs) for arm in arms.values()]
    assert set(pools) == {3}  # depth is not measured by a network that lost a pooling too
    assert replace(arms["no_overlap"].model, pool=whole.pool) == whole


def test_rates_are_the_best_on_images_held_out():
    """Wherever an arm's rate was chosen, by the records of its choice; an arm without them has no run that counts yet."""
    for record in records.read_experiment("selection"):
        assert "test" not in record["data"] and not any(name.startswith("test") for name in record["metrics"])
    tried = rates.tried()
    for (name, arm), rate in rates.choose().items():
        if len(tried[arm]) >= 3:
            assert experiment.arms(name)[0][arm].train.lr == rate, (name, arm, tried[arm])


def test_what_is_chosen_is_the_arm_that_is_compared():
    """The network of a choice is the arm's own; alpha means nothing where nothing is normalised across maps."""
    choices = experiment.arms("selection")[0]
    for name in rates.COMPARED:
        for arm, compared in experiment.arms(name)[0].items():
            for choice in (c for n, c in choices.items() if n.rpartition("-lr")[0] == arm):
                same_alpha = choice.model.norm.kind in ("none", "batch")
                norm = replace(choice.model.norm, alpha=compared.model.norm.alpha) if same_alpha else choice.model.norm
                assert replace(choice.model, norm=norm) == compared.model, choice.name


def test_rates_are_written_where_the_best_lies_inside(monkeypatch, tmp_path, capsys):
    choices = {f"{arm}-lr{rate}": {} for arm in ("a", "b") for rate in (0.1, 0.2, 0.4)}
    arms = {"a": {"model": {"towers": 1}}, "b": {"train": {"lr": 0.4}}}
    every = {"ablations": {"preset": "quick", "seeds": [1], "arms": arms}}
    every |= {"selection": every["ablations"] | {"arms": choices}}
    every |= {name: every["ablations"] | {"arms": {}} for name in rates.COMPARED[1:]}
    (tmp_path / "plans.json").write_text(rates.text_of(every))
    assert json.loads((tmp_path / "plans.json").read_text()) == every
    monkeypatch.setenv("ALEXNET_EXPERIMENTS", str(tmp_path / "plans.json"))
    monkeypatch.setenv("ALEXNET_RESULTS", str(tmp_path / "results"))
    for arm, errors in (("a", (50.0, 40.0, 45.0)), ("b", (50.0, 45.0, 40.0))):
        for rate, error in zip((0.1, 0.2, 0.4), errors, strict=True):
            record = {"experiment": "selection", "arm": f"{arm}-lr{rate}", "seed": 1, "metrics": {"valid_top1_error": error}}
            records.write(record, records.results_path(record))
    before = experiment.arms("ablations")[0]["a"].train.lr
    assert rates.main() == 1
    written = json.loads((tmp_path / "plans.json").read_text())["ablations"]["arms"]
    assert written == {"a": {"model": {"towers": 1}, "train": {"lr": 0.2}}, "b": {"train": {"lr": 0.4}}}
    said = capsys.readouterr()
    assert said.out == f"ablations/a: {before:g} becomes 0.2\n" and "edge" in said.err and "ablations/b" in said.err


def test_the_plans_are_written_as_they_are_read():
    assert rates.text_of(plans.plans()) == plans.plans_path().read_text()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "is no file of experiments: Expecting property name"),
        ("[" * 100_000, "is no file of experiments: .*recursion"),
        ("[]", "it is no object"),
        ('{"mine": []}', "mine needs arms"),
        ('{"mine": {"preset": "quick", "seeds": [1]}}', "mine needs arms"),
        ('{"mine": {"preset": "quick", "seeds": [1], "arms": {"a": 3}}}', "mine needs arms"),
        ('{"mine": {"seeds": [1], "arms": {"a": {}}}}', "mine needs a preset"),
        ('{"mine": {"preset": "quick", "seeds": "1", "arms": {"a": {}}}}', "mine needs seeds, whole numbers"),
        ('{"mine": {"preset": "quick", "seeds": [1], "arms": {"a": {"seeds": [1.5]}}}}', "mine needs seeds"),
        (
            '{"mine": {"preset": "quick", "seeds": [1], "arms": {"a": {"modle": {}}}}}',
            "key of mine/a 'modle'. Did you mean 'model'",
        ),
        ('{"mine": {"preset": "quick", "seeds": [1], "arms": {"a": {}}, "selecton": true}}', "Did you mean 'selection'"),
        ('{"mine": {"preset": "quick", "seeds": [1], "arms": {"a": {}}, "selection": "no"}}', "must be true or false"),
        ('{"mine": {"preset": "quick", "seeds": [1], "arms": {"a": {"model": [1]}}}}', "mine/a needs fields"),
        ('{"mine": {"preset": "quick", "seeds": [1], "arms": {"a": {}}, "train": "x"}}', "mine needs fields"),
        ('{"mine": {"preset": "quick", "seeds": [1], "arms": {"../a": {}}}}', "names files: .*not '../a'"),
    ],
)
def test_a_file_of_experiments_that_is_none_is_said_in_one_line(monkeypatch, tmp_path, text, said):
    (tmp_path / "mine.json").write_text(text)
    monkeypatch.setenv("ALEXNET_EXPERIMENTS", str(tmp_path / "mine.json"))
    with pytest.raises(InputError, match=rf"mine\.json.*{said}") as caught:
        experiment.arms("mine")
    assert "\n" not in str(caught.value)


def test_a_file_of_experiments_is_named_as_in_a_shell(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("ALEXNET_EXPERIMENTS", "~/mine.json")
    assert plans.plans_path() == tmp_path / "mine.json"
    with pytest.raises(InputError, match=r"cannot read the experiments in .*mine\.json: No such file"):
        plans.plans()


TRY = {"model": [TINY], "train": [{"epochs": 1, "limit": 100, "batch_size": 20}]}


def plan(monkeypatch, tmp_path, changes=TRY) -> None:
    """An experiment "tiny" on photos10 with arms a and b, and an empty results/."""
    merged = {part: {k: v for some in parts for k, v in some.items()} for part, parts in changes.items()}
    plans = {"tiny": {"preset": "quick", "seeds": [4, 5], **merged, "arms": {"a": {}, "b": {"model": {"towers": 1}}}}}
    (tmp_path / "plans.json").write_text(json.dumps(plans))
    monkeypatch.setenv("ALEXNET_EXPERIMENTS", str(tmp_path / "plans.json"))
    monkeypatch.setenv("ALEXNET_RESULTS", str(tmp_path / "results"))


def test_measuring_records_each_run_once(monkeypatch, tmp_path):
    plan(monkeypatch, tmp_path)
    assert experiment.arms("tiny")[0]["a"].model == tiny_model()
    done = list(experiment.measure("tiny", seeds=[4], record=True))
    assert [(arm.name, seed) for arm, seed, _ in done] == [("a", 4), ("b", 4)]
    written = sorted(path.name for path in (tmp_path / "results" / "tiny").iterdir())
    assert written == ["a-seed4.json", "a-seed4.kernels.safetensors", "b-seed4.json", "b-seed4.kernels.safetensors"]
    assert [len(record["colour_selectivity"]) for _, _, record in done] == [2, 1]  # towers
    again = list(experiment.measure("tiny", ["a"], record=True))
    assert [(seed, found is None) for _, seed, found in again] == [(4, True), (5, False)]


def test_what_was_recorded_otherwise_is_not_mixed_in(monkeypatch, tmp_path):
    plan(monkeypatch, tmp_path)
    list(experiment.measure("tiny", ["a"], [4], record=True))
    plan(monkeypatch, tmp_path, {"model": TRY["model"], "train": [TRY["train"][0] | {"lr": 0.02}]})
    with pytest.raises(InputError, match="another configuration"):
        list(experiment.measure("tiny", ["a"], [4], record=True))


def test_a_try_is_not_recorded(monkeypatch, tmp_path):
    plan(monkeypatch, tmp_path)
    change = {"model": [], "train": [{"epochs": 2}]}
    with pytest.raises(InputError, match="--record writes what"):
        list(experiment.measure("tiny", ["a"], [4], changes=change, record=True))
    ((_, _, record),) = experiment.measure("tiny", ["a"], [4], changes=change)
    assert len(record["curve"]) == 2 and not (tmp_path / "results").exists()


def test_a_try_is_not_in_the_way_of_the_run_that_counts(monkeypatch, tmp_path):
    plan(monkeypatch, tmp_path)
    arm, tries = experiment.arms("tiny")[0]["a"], [{"model": [], "train": [{"epochs": n}]} for n in (1, 2)]
    real = experiment.run_folder(arm, 4, {"model": [], "train": []})
    assert real == experiment.run_folder(arm, 4) == tmp_path / "runs" / "tiny" / "a-seed4"
    assert len({real, *(experiment.run_folder(arm, 4, changes) for changes in tries)}) == 3


@pytest.mark.parametrize("words, said", [((["tyny"], []), "Did you mean 'tiny'"), ((["tiny"], ["c"]), "unknown arm of tiny 'c'")])
def test_names_that_do_not_exist(monkeypatch, tmp_path, words, said):
    plan(monkeypatch, tmp_path)
    with pytest.raises(InputError, match=said):
        list(experiment.measure(*words[0], words[1]))


def test_without_conv3_and_without_conv4_are_one_network():
    """Which is why the claim about conv3 rests on the runs without conv4: conv4 in the place of conv3 is conv3."""
    arms, _ = experiment.arms("ablations")
    whole = arms["whole"].model
    without = replace(whole, conv3=None, conv4=replace(whole.conv4, reads_all_towers=True))
    one, other = (AlexNet(m, seed=1).state_dict() for m in (without, arms["without_conv4"].model))
    assert whole.conv4.kernels == whole.conv3.kernels and list(one) == list(other)
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_records_of_other_images_are_not_mixed_in(monkeypatch, tmp_path):
    plan(monkeypatch, tmp_path)
    list(experiment.measure("tiny", ["a"], [4], record=True))
    path = records.results_root() / "tiny" / "a-seed4.json"
    record = records.read(path)
    record["data"]["test"]["checksum"] = "another"
    records.write(record, path)
    with pytest.raises(InputError, match="on other images"):
        list(experiment.measure("tiny", ["a"], [4], record=True))


def test_what_chooses_never_sees_the_test_images(monkeypatch, tmp_path):
    plan(monkeypatch, tmp_path)
    path = tmp_path / "plans.json"
    path.write_text(json.dumps({"tiny": json.loads(path.read_text())["tiny"] | {"selection": True}}))
    ((_, _, record),) = experiment.measure("tiny", ["a"], [4], record=True)
    assert "test" not in record["data"] and "outcomes" not in record
    assert not any(name.startswith(("test", "neighbours", "shift", "lighting")) for name in record["metrics"])


def test_outcomes_give_back_the_errors(monkeypatch, tmp_path):
    plan(monkeypatch, tmp_path)
    ((_, _, record),) = experiment.measure("tiny", ["a"], [4], record=True)
    ranks = records.ranks(record)
    assert 100 * (ranks > 0).mean() == pytest.approx(record["metrics"]["test_top1_error"])
    assert 100 * (ranks > 4).mean() == pytest.approx(record["metrics"]["test_top5_error"])
