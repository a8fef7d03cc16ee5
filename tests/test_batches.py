"""The batches of a run: every image once an epoch, and the same numbers drawn however many processes share them."""

import numpy as np
import pytest
import torch
from helpers import tiny_model, tiny_training
from hypothesis import given, settings
from hypothesis import strategies as st

from alexnet_lib import AlexNet, InputError, TrainConfig, evaluation
from alexnet_lib.batches import Batches, mix
from alexnet_lib.evaluation import error_rates, evaluate, predict
from alexnet_lib.layers import Dropout


class Counted:
    """A data set of so many images, as far as their order needs one."""

    def __init__(self, count: int):
        self.count, self.mean_image, self.colour_axes = count, np.zeros((2, 2, 3), np.float32), (np.ones(3), np.eye(3))

    def __len__(self):
        return self.count


def shared(dataset, config: TrainConfig, world: int) -> list[Batches]:
    return [Batches(dataset, tiny_model(), config, torch.device("cpu"), rank, world) for rank in range(world)]


def test_one_image_is_no_batch_to_normalise():
    model = tiny_model(norm={"kind": "batch"})
    with pytest.raises(InputError, match="batch normalisation compares the images of a batch, and there is one"):
        Batches(Counted(9), model, tiny_training(batch_size=1), torch.device("cpu"))
    assert Batches(Counted(9), model, tiny_training(batch_size=2), torch.device("cpu")).per_epoch == 4


@settings(deadline=None, max_examples=60)
@given(count=st.integers(1, 60), batch=st.integers(1, 25), world=st.integers(1, 5), seed=st.integers(0, 9))
def test_no_image_is_seen_twice_in_an_epoch(count, batch, world, seed):
    config = tiny_training(batch_size=batch, seed=seed)
    if min(count, batch) < world:
        with pytest.raises(InputError, match="without one: set batch_size"):
            shared(Counted(count), config, world)
        return
    alone, parts = shared(Counted(count), config, 1)[0], shared(Counted(count), config, world)
    for epoch in range(2):
        steps = range(epoch * alone.per_epoch, (epoch + 1) * alone.per_epoch)
        seen = [image for step in steps for part in parts for image in part.chosen(step)]
        assert len(seen) == len(set(seen)) == alone.per_epoch * alone.size > count - batch
        for step in steps:  # and a batch has the same images, whoever shares it
            assert sorted(i for part in parts for i in part.chosen(step)) == sorted(alone.chosen(step))
            assert max(len(p.chosen(step)) for p in parts) - min(len(p.chosen(step)) for p in parts) <= 1


@pytest.mark.parametrize("world", [2, 3])
def test_crops_colours_and_masks_do_not_depend_on_who_shares_a_batch(photos10, world):
    config = tiny_training(batch_size=20, colour_noise="eigenvalue", images_per_draw=4)
    alone, parts = shared(photos10[0], config, 1)[0], shared(photos10[0], config, world)
    whole, labels = alone.fetch(7)
    for part in parts:
        images, its_labels = part.fetch(7)
        assert torch.equal(part.augment(images, 7), alone.augment(whole, 7)[part.part])
        assert torch.equal(its_labels, labels[part.part])
    for scale in ("test", "train"):
        units, layer = torch.randn(20, 30), Dropout(0.5, scale)
        torch.manual_seed(0)
        dropped = layer(units)
        for part in parts:
            torch.manual_seed(0)
            layer.batch, layer.part = part.size, part.part
            assert torch.equal(layer(units[part.part]), dropped[part.part])
        layer.batch, layer.part = None, slice(None)


@pytest.mark.parametrize("count, world", [(10, 1), (10, 3), (5, 6), (23, 4)])
def test_evaluation_counts_every_image_once_over_all_processes(photos10, monkeypatch, count, world):
    """The processes one after the other, and what they would send each other on a list."""
    net, few, taken, sent = AlexNet(tiny_model(), seed=0), photos10[1].subset(range(0, 1000, 40)[:count]), [], []
    alone = predict(net, few, "centre")
    take = type(few).take
    monkeypatch.setattr(type(few), "take", lambda self, places: taken.extend(places) or take(self, places))

    def all_reduce(numbers):
        sent.append(numbers.clone())
        numbers.copy_(sum(sent))

    monkeypatch.setattr(evaluation.distributed, "all_reduce", all_reduce)
    for rank in reversed(range(world)):  # the first one may get nothing
        monkeypatch.setattr(evaluation, "rank_and_world", lambda rank=rank: (rank, world))
        found = evaluate(net, few, "centre", shared=True)
    assert len(sent) == (world if world > 1 else 0) and sorted(taken) == list(range(count))
    assert found == pytest.approx(error_rates(alone, torch.from_numpy(few.labels))) and found["count"] == count


def test_mix_is_the_same_everywhere():
    assert [mix(0, 1), mix(1, 0), mix(2**40, -3)] == [2918264622725855778, 3717377837946358015, 269883235519703761]
