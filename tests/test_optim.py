"""The update rule against its formula, and the schedules."""

import numpy as np
import pytest
import torch
from helpers import tiny_model
from hypothesis import given, settings
from hypothesis import strategies as st

from alexnet_lib import AlexNet, TrainConfig
from alexnet_lib.optim import PaperSGD, Schedule
from alexnet_lib.runs_2012 import RUNS


def one_parameter(**options) -> tuple[torch.nn.Linear, PaperSGD]:
    torch.manual_seed(0)
    layer = torch.nn.Linear(4, 3).double()
    return layer, PaperSGD(layer, **options)


def steps(layer, step, rates):
    """Takes a step a rate on a fixed loss; the weights after each."""
    inputs, seen = torch.randn(6, 4, generator=torch.Generator().manual_seed(1)).double(), []
    for rate in rates:
        layer.zero_grad()
        layer(inputs).square().sum().backward()
        step(rate)
        seen.append(layer.weight.detach().clone().numpy())
    return seen


RATES = [0.01] * 3 + [0.001] * 3


def paper_step(optimiser):
    def step(rate):
        optimiser.rates = dict.fromkeys(optimiser.parameters, rate)
        optimiser.step()

    return step


def test_it_is_the_formula_of_section_5():
    layer, optimiser = one_parameter()
    found = steps(layer, paper_step(optimiser), RATES)
    reference, _ = one_parameter()
    v = {n: np.zeros(p.shape) for n, p in reference.named_parameters()}

    def by_formula(rate):
        for n, p in reference.named_parameters():
            w = p.detach().numpy()
            v[n] = 0.9 * v[n] - 0.0005 * rate * w - rate * p.grad.numpy()
            w += v[n]

    for ours, expected in zip(found, steps(reference, by_formula, RATES), strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-12)


def test_it_parts_from_torchs_sgd_when_the_rate_changes():
    layer, optimiser = one_parameter()
    ours = steps(layer, paper_step(optimiser), RATES)
    other, _ = one_parameter()
    sgd = torch.optim.SGD(other.parameters(), lr=1.0, momentum=0.9, weight_decay=0.0005)

    def torch_step(rate):
        sgd.param_groups[0]["lr"] = rate
        sgd.step()

    theirs = steps(other, torch_step, RATES)
    for a, b in zip(ours[:3], theirs[:3], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)
    assert np.abs(ours[3] - theirs[3]).max() > 1e-3


def test_a_rate_of_zero_freezes_and_biases_need_not_decay():
    layer, optimiser = one_parameter()
    steps(layer, paper_step(optimiser), [0.01])
    before, velocity = layer.weight.detach().clone(), optimiser.velocity["weight"].clone()
    steps(layer, paper_step(optimiser), [0.0])
    assert torch.equal(before, layer.weight) and torch.equal(velocity, optimiser.velocity["weight"])
    layer, fresh = one_parameter()
    steps(layer, lambda _: fresh.step(), [None])  # no rate was set yet
    assert not any(v.any() for v in fresh.velocity.values())
    _, without = one_parameter(decay_biases=False)
    assert without.decay == {"weight": 0.0005, "bias": 0.0}


def test_a_step_down_a_loss_takes_its_own_gradients_and_rates():
    """Twice, so that a gradient left over from the first would show in the second."""
    (layer, optimiser), (other, by_hand) = one_parameter(), one_parameter()
    inputs = torch.randn(6, 4, dtype=torch.float64)
    for rate in (0.01, 0.001):
        optimiser.descend(layer(inputs).square().sum(), dict.fromkeys(optimiser.parameters, rate))
        other.zero_grad()
        other(inputs).square().sum().backward()
        paper_step(by_hand)(rate)
        assert torch.equal(layer.weight, other.weight) and torch.equal(layer.bias, other.bias)
    assert optimiser.velocity["weight"].any()


@pytest.mark.parametrize("name", ["constant", "plateau", "one_cycle"])
def test_schedules_of_today_keep_the_rate_of_biases_and_the_noise(name):
    rates = Schedule(TrainConfig(schedule=name, epochs=10, bias_lr=0.02, bias_lr_conv12=0.002)).rates(2)
    assert rates.weights == pytest.approx(0.01) and rates.biases == 0.02 and rates.colour_noise
    assert {layer: biases for layer, (_, biases) in rates.layers.items()} == {"conv1": 0.002, "conv2": 0.002}


def test_plateau_divides_by_ten_three_times():
    schedule = Schedule(TrainConfig(patience=2))
    rates = []
    for error in [50, 40, 40, 40, 40, 40, 40, 40, 40, 40, 30, 30, 30]:
        rates.append(schedule.rates(0).weights)
        schedule.observe(error)
    drops = [0.01] * 4 + [0.001] * 2 + [0.0001] * 2 + [0.00001] * 5
    assert rates == pytest.approx(drops) and schedule.dropped == 3
    assert schedule.finished
    again = Schedule(TrainConfig(patience=2))
    again.load_state(schedule.state())
    assert again.rates(0) == schedule.rates(0) and again.finished
    assert again.state() == schedule.state() == {"dropped": 3, "best": 30, "since_best": 2}  # 35 is no progress after a resume


def test_run_2012():
    schedule, net = Schedule(TrainConfig.preset("code_2012")), AlexNet(tiny_model())
    for epoch, rate in ((0, 0.01), (24.9, 0.01), (25, 0.001), (51, 0.0001), (79, 0.00001), (90, 0.00001)):
        assert schedule.rates(epoch).weights == pytest.approx(rate)

    def named(epoch):
        by_name, rates = schedule.rates(epoch).by_parameter(net), {}
        for layer, path in net.paths.items():
            rates[layer] = by_name[f"{path}.weight"], by_name[f"{path}.bias"]
        return rates

    assert named(10) == {n: (0.01, 0.02) for n in net.named_layers()}
    assert named(70)["conv1"] == pytest.approx((0.00001, 0.02)) and named(70)["conv2"] == pytest.approx((0.0001, 0.02))
    assert named(72)["conv1"] == (0, 0) and named(90)["conv2"] == pytest.approx((0.00001, 0.02))
    half = Schedule(TrainConfig.preset("code_2012", schedule="run_145_half", bias_lr_conv12=0.002))
    assert half.rates(10).layers == {name: (0.01, 0.002) for name in ("conv1", "conv2")}
    assert [schedule.rates(e).colour_noise for e in (66, 67)] == [True, False]
    assert [named(e)["conv1"][0] for e in (66.9, 67)] == pytest.approx([0.0001, 0.00001])


def test_one_cycle_rises_and_falls_to_zero():
    schedule = Schedule(TrainConfig(schedule="one_cycle", epochs=10, lr=1.0, warmup=0.2))
    assert [schedule.rates(e).weights for e in (0, 1, 2, 6, 10)] == pytest.approx([0, 0.5, 1, 0.5, 0])


@settings(deadline=None, max_examples=30)
@given(
    rates=st.lists(st.sampled_from([0.0, 0.001, 0.01, 0.03]), min_size=1, max_size=8),
    momentum=st.sampled_from([0.0, 0.5, 0.9]),
    decay=st.sampled_from([0.0, 0.0005, 0.1]),
    decay_biases=st.booleans(),
)
def test_any_series_of_rates_is_the_formula(rates, momentum, decay, decay_biases):
    """Each parameter with a rate of its own: weights by `rates`, biases at twice that."""
    layer, optimiser = one_parameter(momentum=momentum, weight_decay=decay, decay_biases=decay_biases)

    def step(rate):
        optimiser.rates = {"weight": rate, "bias": 2 * rate}
        optimiser.step()

    reference, _ = one_parameter()
    v = {n: np.zeros(p.shape) for n, p in reference.named_parameters()}

    def by_formula(rate):
        for n, p in reference.named_parameters():
            lr, c, w = (
                (rate, decay, p.detach().numpy()) if n == "weight" else (2 * rate, decay * decay_biases, p.detach().numpy())
            )
            if lr > 0:
                v[n] = momentum * v[n] - c * lr * w - lr * p.grad.numpy()
                w += v[n]

    for ours, expected in zip(steps(layer, step, rates), steps(reference, by_formula, rates), strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-10)
    np.testing.assert_allclose(layer.bias.detach().numpy(), reference.bias.detach().numpy(), rtol=1e-10)


def test_the_2012_run_slows_conv1_with_whatever_rates_biases_have():
    def conv1_biases(**rates):
        schedule = Schedule(TrainConfig.preset("code_2012", **rates))
        return schedule.rates(70).layers["conv1"][1]

    assert conv1_biases() == 0.02
    assert conv1_biases(bias_lr_conv12=0.002) == 0.002
    assert conv1_biases(bias_lr_conv12=0.0) == 0.0
    assert conv1_biases(bias_lr=None) == pytest.approx(0.00001)


# By hand from the comments of layer-params-*.cfg: epochs and rates of the weights there.
RECORDED = {
    "run_2010": {0: 0.01, 22: 0.01, 23: 0.001, 51: 0.0001, 78: 0.00001},
    "run_2012_continued": {90: 0.00001, 91: 0.001, 107: 0.0001, 124: 0.00001},
    "run_147": {22: 0.01, 23: 0.001, 51: 0.0001, 79: 0.00001},
    "run_148": {21: 0.01, 22: 0.001, 44: 0.0001, 86: 0.00001},
    "run_150": {24: 0.01, 25: 0.001, 49: 0.0001, 79: 0.00001},
    "run_167": {23: 0.01, 24: 0.001, 48: 0.0001, 72: 0.00001, 94: 0.00001},
    "run_170": {23: 0.01, 24: 0.0015874011, 48: 0.00025198421, 72: 0.00004},
}


@pytest.mark.parametrize("name", RECORDED)
def test_the_recorded_runs(name):
    schedule = Schedule(TrainConfig.preset("code_2012", schedule=name))
    found = {epoch: schedule.rates(epoch).weights for epoch in RECORDED[name]}
    assert found == pytest.approx(RECORDED[name])


def test_what_else_was_changed_in_the_recorded_runs():
    def rates(name, epoch, **changes):
        return Schedule(TrainConfig.preset("code_2012", schedule=name, **changes)).rates(epoch)

    assert all(rates("run_147", epoch).colour_noise for epoch in range(90))  # it never went off
    assert [rates("run_2012_continued", epoch).colour_noise for epoch in (66, 67, 90, 91, 123, 124)] == [1, 0, 0, 1, 1, 0]
    assert rates("run_167", 72).layers == {} and rates("run_167", 73).layers == {"conv1": (0, 0)}
    assert [rates("run_167", epoch).biases for epoch in (47, 47.5, 48)] == pytest.approx([0.02, 0.002, 0.002])
    assert rates("run_167", 72, lr=0.1).weights == pytest.approx(0.0001)
    assert rates("run_167", 48, bias_lr=None).biases is None
    for name, run in RUNS.items():
        assert rates(name, run.epochs - 1).layers["conv1"] == (0, 0) and run.rates[0] == (0, 0.01)


def test_preset_code_2012_is_the_recorded_run():
    preset = TrainConfig.preset("code_2012")
    assert (preset.epochs, preset.holdout, preset.schedule) == (RUNS["run_2012"].epochs, 0, "run_2012")
    assert (preset.bias_lr, preset.bias_lr_conv12, preset.decay_biases) == (0.02, None, False)


@given(st.lists(st.integers(0, 100), max_size=60), st.integers(1, 4), st.integers(0, 3))
def test_a_plateau_never_drops_more_often_than_it_may(errors, patience, drops):
    schedule = Schedule(TrainConfig(patience=patience, drops=drops))
    best, since, dropped = float("inf"), 0, 0
    for seen, error in enumerate(errors):
        assert schedule.rates(seen).weights == pytest.approx(0.01 / 10**dropped)
        fell = schedule.observe(error)
        since = 0 if error < best else since + 1
        best = min(best, error)
        assert fell == (since == patience and dropped < drops)
        if fell:
            since, dropped = 0, dropped + 1
    assert schedule.finished == (dropped == drops and since >= patience)


def test_only_a_plateau_ends_early():
    for name in ("constant", "one_cycle", *RUNS):
        schedule = Schedule(TrainConfig(schedule=name, patience=1, drops=0))
        for _ in range(5):
            assert not schedule.observe(50) and not schedule.finished
    assert schedule.dropped == 0


@pytest.mark.parametrize("warmup", [0.0, 0.2, 0.9])
def test_one_cycle_is_one_triangle(warmup):
    schedule = Schedule(TrainConfig(schedule="one_cycle", epochs=20, lr=2.0, warmup=warmup))
    rates = [schedule.rates(20 * i / 1000).weights for i in range(1001)]
    top = round(1000 * warmup)
    assert max(rates) == pytest.approx(2.0) and np.argmax(rates) == top
    assert all(np.diff(rates[: top + 1]) > 0) and all(np.diff(rates[top:]) < 0) and rates[-1] == 0


@pytest.mark.parametrize("schedule", ["constant", "plateau", "one_cycle", "run_2012"])
def test_the_linear_rule_climbs_to_the_rate_of_the_batch(schedule):
    fields = {"schedule": schedule, "epochs": 90, "batch_size": 1024, "bias_lr": 0.02, "bias_lr_conv12": 0.002}
    plain = Schedule(TrainConfig(**fields))
    ruled = Schedule(TrainConfig(**fields, lr_batch=128, lr_warmup=4.0))
    for epoch, factor in ((0, 1), (1, 1 + 7 / 4), (2, 1 + 14 / 4), (4, 8), (30, 8), (89, 8)):
        rates, before = ruled.rates(epoch), plain.rates(epoch)
        assert rates.weights == pytest.approx(factor * before.weights)
        assert rates.biases == pytest.approx(factor * before.biases)
        assert rates.layers["conv2"] == pytest.approx([factor * rate for rate in before.layers["conv2"]])
        assert rates.colour_noise == before.colour_noise
    assert Schedule(TrainConfig(**fields, lr_batch=256, lr_warmup=0.0)).rates(0).weights == 4 * plain.rates(0).weights
    assert Schedule(TrainConfig(**fields, lr_batch=512, lr_warmup=0.0)).rates(0).weights == 2 * plain.rates(0).weights
    smaller = Schedule(TrainConfig(batch_size=32, lr_batch=128, lr_warmup=0.0))
    assert smaller.rates(3).weights == pytest.approx(0.01 / 4)


def test_the_paper_knows_no_linear_rule():
    for name in ("paper", "code_2012"):
        for batch in (128, 8192):
            changed = Schedule(TrainConfig.preset(name, batch_size=batch))
            assert changed.rates(2) == Schedule(TrainConfig.preset(name)).rates(2)
