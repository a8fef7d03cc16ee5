"""Error rates against a loop, over views and networks."""

import numpy as np
import pytest
import torch
from helpers import tiny_model
from hypothesis import given, settings
from hypothesis import strategies as st

from alexnet_lib import AlexNet, InputError, evaluate
from alexnet_lib.augment import ten_views
from alexnet_lib.evaluation import error_rates, predict
from alexnet_lib.evidence import metrics


def test_predict_is_the_mean_of_softmaxes(photos10):
    test = photos10[1].subset(range(0, 1000, 90))
    nets = [AlexNet(tiny_model(classifier_std=1.0), seed=s) for s in (0, 1)]
    found = predict(nets, test, "ten", batch_size=5)
    mean = torch.from_numpy(test.mean_image)
    for i in range(len(test)):
        views = ten_views(torch.from_numpy(test.take([i])), mean, 28, 64.0)[:, 0]
        with torch.no_grad():
            each = [net.eval()(views[v : v + 1]).softmax(1)[0] for net in nets for v in range(10)]
        torch.testing.assert_close(found[i], torch.stack(each).mean(0), rtol=1e-4, atol=1e-6)
    assert nets[0].training is False
    centre = predict(nets[0].train(), test, "centre")
    assert nets[0].training is True  # as it was before
    assert not torch.allclose(centre, predict(nets[0], test, "ten"))


def test_error_rates_by_hand():
    p = torch.tensor([[0.1, 0.2, 0.3, 0.05, 0.05, 0.25, 0.05], [0.4, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1]])
    p[1, 6] = 0.01
    found = error_rates(p, torch.tensor([5, 6]))
    assert found == {
        "top1_error": 100.0,
        "top5_error": 50.0,
        "loss": pytest.approx(-(np.log(0.25) + np.log(0.01)) / 2),
        "count": 2,
    }
    assert error_rates(p[:, :3], torch.tensor([0, 0]))["top5_error"] == 0.0


def test_every_image_counts_once(photos10):
    test = photos10[1].subset(range(0, 1000, 9))
    net = AlexNet(tiny_model(), seed=0)
    sizes = [evaluate(net, test, "centre", batch_size=b) for b in (7, 112, 1000)]
    assert all(found["count"] == 112 for found in sizes)
    assert all(found["top1_error"] == sizes[0]["top1_error"] for found in sizes)
    with pytest.raises(InputError, match="Did you mean 'centre'"):
        evaluate(net, test, "center")


@pytest.mark.parametrize("count", range(61))
def test_places_that_are_spread_are_there(count):
    """Of test sets of every small size: none lies outside, none comes twice, and in a large one all are moved as asked."""
    for most in (1, 5, 60):
        plain, moved = metrics.spread(count, most), metrics.spread(count, most, offset=7)
        assert len(moved) == len(plain) == len(set(moved.tolist())) <= most and (len(plain) > 0) == (count > 0)
        assert all(0 <= place < count for place in (*plain, *moved)) and len(set((moved - plain).tolist())) <= 1
    assert metrics.spread(1000, 5, offset=7).tolist() == [7, 207, 407, 607, 807]


def test_ties_and_few_classes():
    """Equal probabilities still give five different guesses, and top-1 is one of them."""
    flat = torch.full((40, 20), 0.05)
    right = [error_rates(flat, torch.full((40,), label)) for label in range(20)]
    assert sum(r["top1_error"] == 0 for r in right) == 1
    assert sum(r["top5_error"] == 0 for r in right) == 5
    assert all(r["top5_error"] <= r["top1_error"] for r in right)
    one = error_rates(torch.ones(3, 1), torch.zeros(3, dtype=torch.int64))
    assert one == {"top1_error": 0.0, "top5_error": 0.0, "loss": 0.0, "count": 3}


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 2**31), count=st.integers(1, 30), classes=st.integers(1, 12))
def test_error_rates_are_the_loop(seed, count, classes):
    rng = np.random.default_rng(seed)
    p = rng.dirichlet(np.ones(classes), count)
    labels = rng.integers(0, classes, count)
    order = [sorted(range(classes), key=lambda k: -row[k]) for row in p]
    found = error_rates(torch.from_numpy(p), torch.from_numpy(labels))
    for k, key in ((1, "top1_error"), (5, "top5_error")):
        wrong = sum(label not in guesses[:k] for guesses, label in zip(order, labels, strict=True))
        assert found[key] == pytest.approx(100 * wrong / count)
    assert found["loss"] == pytest.approx(-np.mean([np.log(p[i, k]) for i, k in enumerate(labels)]))


def test_softmax_comes_before_the_mean(photos10):
    """A sure view outweighs an unsure one in the mean of logits; the paper takes the mean of probabilities."""
    test = photos10[1].subset(range(0, 1000, 50))
    net = AlexNet(tiny_model(classifier_std=30.0), seed=0).eval()
    views = ten_views(torch.from_numpy(test.take(range(len(test)))), torch.from_numpy(test.mean_image), 28, 64.0)
    with torch.no_grad():
        logits = net(views.flatten(0, 1)).unflatten(0, views.shape[:2])
    found = predict(net, test, "ten")
    torch.testing.assert_close(found, logits.softmax(2).mean(0), rtol=1e-4, atol=1e-6)
    assert not torch.allclose(found, logits.mean(0).softmax(1), atol=1e-2)
    torch.testing.assert_close(found.sum(1), torch.ones(len(test)))


def test_what_does_not_fit_gets_one_line(photos10):
    test, net = photos10[1], AlexNet(tiny_model(), seed=0)
    for wrong, words in (
        (AlexNet(tiny_model(image_size=40), seed=0), "crops of 40 .* choose another preset"),
        (AlexNet(tiny_model(classes=3), seed=0), "10 classes"),
        ([net, AlexNet(tiny_model(pixel_std=1.0), seed=0)], "same image_size, pixel_std"),
        ([net, AlexNet(tiny_model(classes=11), seed=0)], "and classes"),
        ([], "same image_size"),
    ):
        with pytest.raises(InputError, match=words) as caught:
            evaluate(wrong, test)
        assert "\n" not in str(caught.value)
    for size in (0, -1):  # which would leave every image unseen
        with pytest.raises(InputError, match="batch_size must be 1 or more"):
            evaluate(net, test, "centre", batch_size=size)
