"""The cost model: its counts against the library's and against counting by hand, its times against simple machines."""

import json
from dataclasses import replace

import pytest
import torch
from cost_model import (
    CONV,
    FIRST,
    GROUPED,
    MATRIX,
    UPDATE,
    UPDATE_PASSES,
    Machine,
    all_reduce,
    card_of,
    devices,
    estimate,
    image_flop,
    operations,
    passes,
    ring_bytes,
    step,
    training,
)
from helpers import MODELS, ROOT
from torch.utils.flop_counter import FlopCounterMode

from alexnet_lib import AlexNet, ModelConfig
from alexnet_lib.evidence import costs
from alexnet_lib.summary import layer_table, totals

PAPER = ModelConfig.preset("paper")
CARD = Machine("card", peak=1e12, bandwidth=1e11, box=4, link=1e10, network=1e9, latency=1e-5, price=2.0)


@pytest.mark.parametrize("config", MODELS.values(), ids=MODELS)
def test_work_is_that_of_the_table_of_layers(config):
    found, table = operations(config), totals(layer_table(config))
    products = [o for o in found if o.kind in (FIRST, CONV, GROUPED, MATRIX)]
    assert sum(o.flop for o in products if o.way == "forward") == 2 * table["multiply_adds"]
    first = 2 * layer_table(config)[0].multiply_adds  # no gradient for the image
    assert image_flop(config) == 6 * table["multiply_adds"] - first
    assert sum(o.fixed for o in found if o.kind == UPDATE) == UPDATE_PASSES * table["parameters"]


def test_flop_are_those_that_torch_counts():
    """torch's own counter, which sees what is called, forward and backward; it takes no notice of groups on the way back."""
    config = ModelConfig.preset("small", towers=1)
    net, counter = AlexNet(config, seed=0), FlopCounterMode(display=False)
    with counter:
        net(torch.randn(2, 3, 28, 28)).sum().backward()
    assert counter.get_total_flops() == 2 * image_flop(config)


def test_the_slower_of_arithmetic_and_memory_counts():
    conv = next(o for o in operations(PAPER) if o.layer == "conv1" and o.kind == FIRST)
    rows = layer_table(PAPER)
    assert conv.flop == 2 * 55 * 55 * 96 * 11 * 11 * 3 and conv.flop == 2 * rows[0].multiply_adds
    assert conv.numbers == 3 * 227**2 + 96 * 55**2  # the padded image and the maps
    assert CARD.seconds(conv, 10) == pytest.approx(10 * conv.flop / 1e12)
    starved = replace(CARD, bandwidth=1e6, overhead=1.0)
    assert starved.seconds(conv, 10) == pytest.approx(1 + 4 * (10 * conv.numbers + conv.fixed) / 1e6)
    measured = replace(CARD, rates={f"{FIRST} forward": 5e11})
    assert measured.seconds(conv, 10) == pytest.approx(10 * conv.flop / 5e11)


def test_rings():
    assert ring_bytes(2, 100) == 100 and ring_bytes(4, 100) == 150 and ring_bytes(1, 100) == 0
    assert all_reduce(CARD, 1, 1e9) == 0
    assert all_reduce(CARD, 4, 1e9) == pytest.approx(1.5e9 / 1e10 + 6e-5)
    assert all_reduce(CARD, 8, 1e9) == pytest.approx(1.5e9 / 1e10 + 6e-5 + 0.25e9 / 1e9 + 2e-5)  # a quarter each across boxes


def test_schemes_share_the_work_and_send_what_they_must():
    alone = step(PAPER, CARD, 128)
    assert alone.exchange == alone.reduce == 0 and alone.seconds == pytest.approx(alone.work)
    data = step(PAPER, CARD, 128, 4, overlap=False)
    parameters = totals(layer_table(PAPER))["parameters"]
    assert data.reduce == pytest.approx(all_reduce(CARD, 4, 4 * parameters)) and data.update == pytest.approx(alone.update)
    assert data.backward == pytest.approx(alone.backward / 4)
    assert step(PAPER, CARD, 128, 128).backward > 2 * alone.backward / 128  # an image each: all wait for the weights
    pair = step(PAPER, CARD, 128, 2, "towers")
    crossing = costs.bytes_per_pass(PAPER, 128)  # both ways together
    assert pair.exchange == pytest.approx(2 * sum(crossing.values()) / 2 / 1e10 + 2 * len(crossing) * 1e-5)
    assert pair.work == pytest.approx(alone.work / 2) and pair.reduce == 0
    mixed = step(PAPER, CARD, 128, 4, "mixed", overlap=False)
    convs = sum(row.parameters for row in layer_table(PAPER)[:5])
    assert mixed.reduce == pytest.approx(all_reduce(CARD, 4, 4 * convs))
    widths = (256 * 36, 4096, 4096, 1000)
    assert mixed.exchange == pytest.approx(sum(all_reduce(CARD, 4, 4 * 128 * w) for w in widths))
    assert mixed.update < alone.update / 3
    hidden = step(PAPER, CARD, 128, 4)
    assert hidden.seconds == pytest.approx(data.seconds - min(data.reduce, data.backward))


def test_a_training():
    whole = training(PAPER, CARD, 128)
    assert whole.hours == pytest.approx(90 * 1.2e6 / 128 * whole.step.seconds / 3600)
    assert whole.dollars == pytest.approx(2 * whole.hours) and whole.images_per_second == pytest.approx(128 / whole.step.seconds)
    assert training(PAPER, replace(CARD, price=None)).dollars is None
    assert training(PAPER, CARD, 1024, 8, critical=8192).hours == pytest.approx(
        training(PAPER, CARD, 1024, 8).hours * (1 + 1024 / 8192) / (1 + 128 / 8192)
    )
    assert passes(128, 8192) == passes(9999) == 1


@pytest.mark.parametrize("wrong", [{"scheme": "magic"}, {"scheme": "towers", "cards": 3}])
def test_what_cannot_be(wrong):
    with pytest.raises(ValueError):
        step(PAPER, CARD, 128, **({"cards": 2} | wrong))


def test_the_paper_s_time_lies_below_the_peak_of_its_cards():
    card = replace(devices()["GTX 580"], share=1.0)
    floor = training(PAPER, card, 128, 2, "towers").hours / 24
    assert 1 < floor < 5  # days; the paper took 5 to 6
    pair = training(PAPER, replace(card, share=0.3), 128, 2, "towers").hours
    assert 0.85 < pair / training(ModelConfig.preset("one_gpu"), replace(card, share=0.3)).hours < 1


def test_devices_name_their_source():
    for card in devices().values():
        assert card.source and card.peak > 1e12 and 0 < card.share <= 1


def test_the_record_keeps_to_its_rule():
    """Within 25 % of what was measured, from constants that are not the network's."""
    record = json.loads((ROOT / "results" / "cost_model" / "cpu-seed0.json").read_text())
    rates = record["rates"]["paper"]
    assert abs(rates["predicted"] / rates["measured"] - 1) <= 0.25
    machine = Machine(**record["machine"])
    again = record["batch"] / sum(machine.seconds(each, record["batch"]) for each in operations(PAPER))
    assert again == pytest.approx(rates["predicted"], rel=0.1)  # medians of constants, against medians of predictions


def test_cards_are_known_by_their_drivers_names():
    names = {"NVIDIA H100 80GB HBM3": "H100", "NVIDIA H200": "H200", "Tesla T4": "T4", "NVIDIA A100-SXM4-40GB": "A100"}
    assert {name: card_of(name).name for name in names} == names and card_of("NVIDIA GeForce RTX 4090") is None


def test_the_estimate_before_a_training(monkeypatch):
    asked = PAPER, "bfloat16", 90, 128, 1.2e6
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert "on this processor" in estimate(*asked) and estimate(*asked).endswith("days")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "NVIDIA H100 80GB HBM3")
    expected = training(PAPER, devices()["H100"], 128)
    assert f"at least {expected.hours:.1f} hours and {expected.dollars:.0f} dollars" in estimate(*asked)
    assert estimate(PAPER, "float32", 90, 128, 1.2e6) != estimate(*asked)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "another")
    assert "does not know another" in estimate(*asked)
