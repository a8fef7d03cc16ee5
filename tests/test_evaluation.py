"""Error rates against a loop, over views and networks."""

import numpy as np
import pytest
import torch
from helpers import tiny_model

from alexnet_lib import AlexNet, InputError, evaluate
from alexnet_lib.augment import ten_views
from alexnet_lib.evaluation import error_rates, predict


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
    assert found == {"top1_error": 100.0, "top5_error": 50.0, "loss": pytest.approx(-(np.log(0.25) + np.log(0.01)) / 2), "count": 2}
    assert error_rates(p[:, :3], torch.tensor([0, 0]))["top5_error"] == 0.0


def test_every_image_counts_once(photos10):
    test = photos10[1].subset(range(0, 1000, 9))
    net = AlexNet(tiny_model(), seed=0)
    sizes = [evaluate(net, test, "centre", batch_size=b) for b in (7, 112, 1000)]
    assert all(found["count"] == 112 for found in sizes)
    assert all(found["top1_error"] == sizes[0]["top1_error"] for found in sizes)
    with pytest.raises(InputError, match="Did you mean 'centre'"):
        evaluate(net, test, "center")
