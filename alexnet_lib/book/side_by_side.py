"""The program of chapter 2 and of the tests: some steps of training, as one process or as one of the towers that share it."""

import os
import time

import torch
from torch import Tensor, distributed

from ..config import ModelConfig
from ..model import AlexNet
from ..optim import PaperSGD, Rates
from ..towers import Tower, loss


def train_steps(
    group: distributed.ProcessGroup | None,
    config: ModelConfig,
    images: Tensor,
    labels: Tensor,
    steps: int = 1,
    lr: float = 0.01,
    seed: int = 0,
) -> dict:
    """Some steps of the paper's rule on one batch: as one tower of `group`, or as AlexNet in one process without a group.

    The program is the same for both, so that what it gives back can be compared. The network has the type of the images
    (N, 3, S, S).

    Returns:
        pid; of the first step logits, loss and gradients by name; steps, for each step when it began and ended
        (time.perf_counter(), in s) and its messages; state, the state dict after the last step.
    """
    net = AlexNet(config, seed) if group is None else Tower(config, group, seed)
    net.to(images.dtype).train()
    optimiser, rates = PaperSGD(net), Rates(lr).by_parameter(net)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)  # every tower draws the same dropout masks
        first: dict = {}
        log = []
        for _ in range(steps):
            if group is not None:
                distributed.barrier(group)  # all begin together, so that their clocks can be compared
            began = time.perf_counter()
            logits = net(images)
            mean_loss = loss(logits, labels)
            optimiser.descend(mean_loss, rates)
            messages = list(net.link.messages) if isinstance(net, Tower) else []
            log.append({"began": began, "ended": time.perf_counter(), "messages": messages})
            if not first:
                first = {"logits": logits.detach(), "loss": mean_loss.item()}
                first |= {"gradients": {name: p.grad for name, p in net.named_parameters()}}
    return {"pid": os.getpid(), **first, "steps": log, "state": net.state_dict()}
