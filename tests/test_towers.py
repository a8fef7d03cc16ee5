"""Two processes that each hold a tower against one process that holds both: the same network, and no byte more than it needs."""

import itertools
import multiprocessing
import os
import time

import pytest
import torch
from helpers import tiny_model
from measure_towers import measure, on_the_wire
from torch import distributed
from torch.distributed.device_mesh import init_device_mesh
from torch.nn.functional import cross_entropy

from alexnet_lib import AlexNet, InputError, ModelConfig
from alexnet_lib.book.side_by_side import train_steps
from alexnet_lib.evaluation import predict
from alexnet_lib.evidence.costs import bytes_per_pass, bytes_sent, training_memory, without_storage
from alexnet_lib.exchange import Link
from alexnet_lib.layers import Dropout
from alexnet_lib.optim import PaperSGD, Rates
from alexnet_lib.system.processes import run_in_processes
from alexnet_lib.towers import Tower, join_states, loss, split_state

MODELS = {name: ModelConfig.preset(name) for name in ("small", "paper", "code_2012", "no_communication")}
MODELS |= {
    "today": tiny_model(dropout_scale="train", dropout_on="inputs", dropout=0.5, activation="tanh"),
    "no hidden layer": tiny_model(hidden=[], conv3=None, conv6={"kernels": 8, "size": 3, "padding": 1, "reads_all_towers": True}),
}
# name -> (model, images, steps, type)
CASES = {
    "small": ("small", 8, 50, torch.float64),
    "paper": ("paper", 2, 3, torch.float64),
    "code_2012": ("code_2012", 2, 3, torch.float64),
    "no_communication": ("no_communication", 2, 3, torch.float64),
    "today": ("today", 5, 3, torch.float64),
    "no hidden layer": ("no hidden layer", 5, 3, torch.float64),
    "small in float32": ("small", 8, 1, torch.float32),
    "paper in float32": ("paper", 2, 1, torch.float32),
    "code_2012 in float32": ("code_2012", 2, 1, torch.float32),
    "no_communication in float32": ("no_communication", 2, 1, torch.float32),
}
NAMES = {name: CASES[name][0] for name in CASES}


def batch(config: ModelConfig, count: int, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    noise = torch.Generator().manual_seed(1)
    images = torch.randn(count, 3, config.image_size, config.image_size, generator=noise, dtype=torch.float64)
    return (images * 60 / config.pixel_std).to(dtype), torch.arange(count) % config.classes


def run_cases(group) -> dict[str, dict]:
    """Every case, as a tower of the group or in one process without one."""
    found = {}
    for case, (model, count, steps, dtype) in CASES.items():
        found[case] = train_steps(group, MODELS[model], *batch(MODELS[model], count, dtype), steps, seed=2)
        found[case] |= {what: {n: some_rows(x) for n, x in found[case][what].items()} for what in ("gradients", "state")}
    return found


def some_rows(x: torch.Tensor) -> torch.Tensor:
    """A parameter, or every 64th row of a large matrix: several networks of 61 million weights are kept to be compared."""
    return x[::64].clone() if x.dim() == 2 and x.shape[1] > 4000 else x


@pytest.fixture(scope="module")
def two():
    """What two processes found, by case: (tower 0, tower 1)."""
    both = run_in_processes(run_cases, timeout=500)
    return {case: tuple(found[case] for found in both) for case in CASES}


@pytest.fixture(scope="module")
def one():
    return run_cases(None)


def distance(found: torch.Tensor, right: torch.Tensor) -> float:
    return ((found - right).norm() / right.norm()).item()


@pytest.mark.parametrize("case", CASES)
def test_two_processes_do_what_one_does(one, two, case):
    limit = 1e-9 if CASES[case][3] == torch.float64 else 1e-5
    whole, towers = one[case], two[case]
    assert len({os.getpid(), *(t["pid"] for t in towers)}) == 3
    assert distance(towers[0]["logits"], whole["logits"]) < limit and towers[1]["logits"].shape[1] == 0
    assert towers[0]["loss"] == pytest.approx(whole["loss"], rel=limit) and towers[1]["loss"] == 0
    for what in ("gradients", "state"):
        joined = join_states([t[what] for t in towers])
        assert list(joined) == list(whole[what])
        for name, right in whole[what].items():
            assert right.norm() > 0 and distance(joined[name], right) < limit, (what, name)
    start = AlexNet(MODELS[NAMES[case]], seed=2).state_dict()
    assert all(not torch.equal(some_rows(start[name]), x.to(start[name].dtype)) for name, x in whole["state"].items())


@pytest.mark.parametrize("case", CASES)
def test_the_bytes_that_cross_are_those_of_the_formula(two, case):
    model, count, _, dtype = CASES[case]
    logs = [t["steps"][-1]["messages"] for t in two[case]]
    assert len(two[case][0]["steps"]) == CASES[case][2]
    expected = bytes_per_pass(MODELS[model], count, dtype.itemsize)
    sent = [bytes_sent(log, t) for t, log in enumerate(logs)]
    for layer, total in expected.items():
        forward, backward = ([s.get((layer, way), 0) for s in sent] for way in ("forward", "backward"))
        assert sum(forward) == sum(backward) == total > 0
        last = layer == list(expected)[-1]
        assert forward == ([0, total] if last else [total // 2] * 2) and backward == forward[::-1]
    assert {layer for s in sent for layer, _ in s} == set(expected)
    # what one sent the other received; first all the way up, then down again
    assert {m[:5] for m in logs[0]} == {m[:5] for m in logs[1]}
    layers = list(dict.fromkeys((m.layer, m.way) for m in logs[0]))
    assert layers == [(p, "forward") for p in expected] + [(p, "backward") for p in reversed(expected)]
    assert all(m.began <= m.ended for log in logs for m in log)


def test_where_the_presets_talk():
    """By hand: 13x13 maps into conv3, 6x6 into fc6, half of the units each way, four bytes each; 2048 units of the
    other half into fc7 and fc8."""
    assert bytes_per_pass(ModelConfig.preset("paper"), 128) == {
        "conv3": 2 * 128 * 13 * 13 * 128 * 4,
        "fc6": 2 * 128 * 6 * 6 * 128 * 4,
        "fc7": 2 * 2048 * 128 * 4,
        "fc8": 2048 * 128 * 4,
    }
    assert bytes_per_pass(ModelConfig.preset("code_2012"), 7, 8) == bytes_per_pass(ModelConfig.preset("paper"), 14)
    assert bytes_per_pass(ModelConfig.preset("no_communication"), 1) == {"fc8": 2048 * 4}
    assert not sum(bytes_per_pass(ModelConfig.preset("one_gpu"), 128).values())


# A state dict goes from one process to two and back, and a test sees the logits everywhere.
SMALL = MODELS["small"]


def answer(group, state, dataset, images) -> dict:
    net = Tower(SMALL, group, seed=9)
    net.load_state_dict(split_state(state, SMALL, distributed.get_rank(group)), strict=True)
    with torch.no_grad():
        told = net.eval()(images)
    messages = list(net.link.messages)
    with torch.autocast("cpu", torch.bfloat16):
        logits = net.to(memory_format=torch.channels_last)(images.contiguous(memory_format=torch.channels_last))
    loss(logits, torch.arange(len(images))).backward()
    half = {"logits": logits.detach(), "messages": list(net.link.messages), "grad": net.features[0].weight.grad}
    with torch.inference_mode():
        hidden = net.hidden(images)
    return {
        "told": told, "messages": messages, "probabilities": predict(net, dataset), "half": half, "hidden": hidden,
        "state": net.state_dict(), "layers": list(net.named_layers()), "text": repr(net),
    }  # fmt: skip


def test_states_travel_and_everyone_hears_the_answer(photos10):
    whole, images, some = AlexNet(SMALL, seed=3).eval(), batch(SMALL, 8, torch.float32)[0], photos10[1].subset(range(20))
    state = whole.state_dict()
    found = run_in_processes(answer, state, some, images)
    with torch.inference_mode():
        logits, hidden = whole(images), whole.hidden(images)
    for tower in found:
        torch.testing.assert_close(tower["told"], logits, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(tower["probabilities"], predict(whole, some), rtol=1e-5, atol=1e-6)
    assert bytes_sent(found[0]["messages"], 0)["logits", "forward"] == logits.nbytes
    torch.testing.assert_close(found[0]["hidden"], hidden, rtol=1e-3, atol=1e-4)  # channels_last adds in another order
    assert found[1]["hidden"].shape == (8, 0)
    back = join_states([t["state"] for t in found])
    AlexNet(SMALL).load_state_dict(back, strict=True)
    assert all(torch.equal(back[name], x) for name, x in state.items())
    assert found[0]["layers"] == list(whole.named_layers()) and found[1]["layers"] == list(whole.named_layers())[:-1]
    assert "(into_conv3): Exchange(conv3, read by towers [0, 1])" in found[1]["text"]
    # mixed precision: what crosses is bfloat16, two bytes each
    halves = [t["half"] for t in found]
    with torch.autocast("cpu", torch.bfloat16):
        mixed = whole(images)
    cross_entropy(mixed.float(), torch.arange(8)).backward()
    torch.testing.assert_close(halves[0]["logits"], mixed, rtol=0.05, atol=0.02)
    assert distance(torch.cat([h["grad"] for h in halves]), whole.features[0].weight.grad) < 0.05
    total = sum(sum(bytes_sent(h["messages"], t).values()) for t, h in enumerate(halves))
    assert total == 2 * sum(bytes_per_pass(SMALL, 8, 2).values())


def test_splitting_names_every_number_once():
    config = MODELS["today"]
    state = AlexNet(config, seed=0).state_dict()
    parts = [split_state(state, config, t) for t in (0, 1)]
    assert sum(x.numel() for part in parts for x in part.values()) == sum(x.numel() for x in state.values())
    joined = join_states(parts)
    assert all(torch.equal(joined[name], x) for name, x in state.items()) and list(joined) == list(state)


# Four processes: two copies of two towers that share their gradients; and three towers, whose ranks in the group are not
# their ranks in the world.
THREE = ModelConfig.preset("small", towers=3, hidden=[24, 24], **{f"conv{i}": {"kernels": 12} for i in range(1, 6)})
PLAIN, DROPPED = tiny_model(dropout=0.0), tiny_model(dropout=0.5)


def three_steps(net: torch.nn.Module, images: torch.Tensor, labels: torch.Tensor) -> dict[str, dict]:
    """The gradients of the third step, and the parameters after it."""
    tower = getattr(net, "module", net)
    optimiser, rates = PaperSGD(tower), Rates(0.01).by_parameter(tower)
    torch.manual_seed(4)  # everyone draws the same dropout masks
    for _ in range(3):
        optimiser.descend(loss(net(images), labels), rates)
    return {"gradients": {name: p.grad for name, p in tower.named_parameters()}, "state": tower.state_dict()}


def several_groups(world) -> dict:
    rank, found = distributed.get_rank(), {}
    images, labels = batch(DROPPED, 8, torch.float64)
    mesh = init_device_mesh("cpu", (2, 2), mesh_dim_names=("data", "tower"))
    mine = slice(4 * mesh["data"].get_local_rank(), 4 * mesh["data"].get_local_rank() + 4)
    tower = Tower(DROPPED, mesh["tower"].get_group(), seed=1).double()
    for layer in tower.modules():
        if isinstance(layer, Dropout):
            layer.batch, layer.part = 8, mine
    net = torch.nn.parallel.DistributedDataParallel(tower, process_group=mesh["data"].get_group())
    found |= three_steps(net, images[mine], labels[mine])
    three, alone = distributed.new_group([1, 2, 3]), distributed.new_group([0])
    if rank:
        found["three"] = train_steps(three, THREE, *batch(THREE, 4, torch.float64), steps=2)
    else:
        found["alone"] = train_steps(alone, ModelConfig.preset("small", towers=1), *batch(SMALL, 4, torch.float32))
    for config, text in ((THREE, "3 towers need"), (tiny_model(norm={"stays_in_tower": False}), "windows")):
        with pytest.raises(InputError, match=text):
            Tower(config, mesh["tower"].get_group())
    return found


def test_towers_are_the_ranks_of_their_group():
    found = run_in_processes(several_groups, processes=4)
    whole = three_steps(AlexNet(DROPPED, seed=1).double(), *batch(DROPPED, 8, torch.float64))
    start = AlexNet(DROPPED, seed=1).state_dict()
    for copy, what in itertools.product((found[:2], found[2:]), whole):
        joined = join_states([f[what] for f in copy])
        for name, right in whole[what].items():
            assert distance(joined[name], right) < 1e-9 < distance(start[name], right), (what, name)
    right, towers = train_steps(None, THREE, *batch(THREE, 4, torch.float64), steps=2), [f["three"] for f in found[1:]]
    joined = join_states([t["state"] for t in towers])
    assert max(distance(joined[name], x) for name, x in right["state"].items()) < 1e-9
    sent = [bytes_sent(t["steps"][0]["messages"], i) for i, t in enumerate(towers)]
    for layer, total in bytes_per_pass(THREE, 4, 8).items():
        assert sum(s.get((layer, "forward"), 0) for s in sent) == sum(s.get((layer, "backward"), 0) for s in sent) == total
    alone, same = found[0]["alone"], train_steps(None, ModelConfig.preset("small", towers=1), *batch(SMALL, 4, torch.float32))
    assert torch.equal(alone["logits"], same["logits"]) and not alone["steps"][0]["messages"]


def by_host(group) -> dict[str, dict]:
    Link._goes_by_host = lambda link, x: True  # as if the maps lay on a card
    return three_steps(Tower(DROPPED, group, seed=1).double(), *batch(DROPPED, 8, torch.float64))


def test_what_goes_by_the_host_arrives():
    """gloo cannot send from a card: seen on one, a "Bad address"."""
    found = run_in_processes(by_host)
    whole = three_steps(AlexNet(DROPPED, seed=1).double(), *batch(DROPPED, 8, torch.float64))
    for what in whole:
        joined = join_states([f[what] for f in found])
        assert all(distance(joined[name], right) < 1e-9 for name, right in whole[what].items())


# A process that dies, fails or hangs.
def trouble(group, kind: str) -> None:
    if distributed.get_rank(group) == 1:
        print("tower 1 speaks", flush=True)
        if kind == "dies":
            os._exit(7)
        if kind == "fails":
            raise ValueError("on purpose")
        time.sleep(600)
    Tower(PLAIN, group)(batch(PLAIN, 2, torch.float32)[0])


@pytest.mark.parametrize("kind, words", [("dies", r"exit code 7(.|\n)*tower 1 speaks"), ("fails", "ValueError: on purpose")])
def test_a_process_that_ends_takes_the_other_with_it(kind, words):
    with pytest.raises(RuntimeError, match=rf"process 1 failed(.|\n)*{words}"):  # and not TimeoutError
        run_in_processes(trouble, kind)
    assert not multiprocessing.active_children()


def test_a_process_that_hangs_is_ended():
    with pytest.raises(RuntimeError, match=r"process 0 failed(.|\n)*Timed out"):
        run_in_processes(trouble, "hangs", timeout=2)
    assert not multiprocessing.active_children()


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="two GPUs are needed")
def test_on_two_gpus():
    whole, towers = on_gpus(None), run_in_processes(on_gpus, backend="nccl")
    for name, right in whole["state"].items():
        assert distance(join_states([t["state"] for t in towers])[name], right) < 1e-9, name


def on_gpus(group) -> dict:
    images, labels = batch(PLAIN, 8, torch.float64)
    net = (AlexNet(PLAIN, 1) if group is None else Tower(PLAIN, group, 1)).double().cuda()
    loss(net(images.cuda()), labels.cuda()).backward()
    return {"state": {name: p.grad.cpu() for name, p in net.named_parameters()}}


@pytest.mark.parametrize("scheme", ["towers", "data parallel"])
def test_what_a_process_holds_and_sends_is_what_was_worked_out(scheme):
    rows = measure(scheme, SMALL, 64, 2)
    assert [row["rank"] for row in rows] == [0, 1]
    for row in rows:
        assert row["sent"] == row["formula"] > 0
        assert row["estimate"] == pytest.approx(row["peak"], rel=0.15)
    sent = sum(row["sent"] for row in rows)
    if on_the_wire():  # others may talk meanwhile
        assert rows[0]["wire"] > sent
    parameters = 4 * sum(p.numel() for p in AlexNet(SMALL).parameters())
    assert sent == (2 * parameters if scheme == "data parallel" else 2 * sum(bytes_per_pass(SMALL, 64).values()))


def test_memory_is_estimated_without_allocating():
    """By hand, for one convolution: most is there on the way back through the activation, before the kernels' gradient."""
    convs = {f"conv{i}": None for i in range(2, 6)}
    config = tiny_model(hidden=[], towers=1, **convs, conv1={"kernels": 8, "size": 5, "padding": 2, "then": ["activation"]})
    found, size, classes = training_memory(without_storage(config), 10), config.image_size, config.classes
    maps, image = 4 * 10 * 8 * size**2, 4 * 10 * 3 * size**2
    kernels, classifier = 4 * (8 * 3 * 25 + 8), 4 * (8 * size**2 * classes + classes)
    parameters, kept = kernels + classifier, maps  # the maps after the activation, once, though two layers need them
    assert found == {
        "parameters": parameters, "gradients": parameters, "velocity": parameters, "image": image, "kept": kept,
        "passing": 2 * maps, "scratch": 0, "peak": 3 * parameters - kernels + image + kept + 2 * maps,
    }  # fmt: skip
    whole, *towers = (training_memory(without_storage(MODELS["paper"], tower), 128) for tower in (None, 0, 1))
    assert whole["parameters"] == sum(tower["parameters"] for tower in towers)
    assert all(0.5 * whole["kept"] < tower["kept"] < 0.6 * whole["kept"] for tower in towers)  # copies of what is read
    assert whole["peak"] < 3 * 2**30 / 1.5 and max(tower["peak"] for tower in towers) < 2**30
