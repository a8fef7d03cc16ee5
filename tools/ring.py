"""All-reduce by a ring (Patarasuk and Yuan 2009), written out: the program that chapter 13 runs in several processes."""

import torch
from torch import Tensor, distributed
from torch.distributed import P2POp, batch_isend_irecv, irecv, isend
from torch.nn.functional import cross_entropy

from alexnet_lib import AlexNet, ModelConfig


def ring_all_reduce(group: distributed.ProcessGroup, mine: Tensor) -> tuple[Tensor, int]:
    """(the sum of `mine` over all ranks of the group, bytes that this rank sent).

    The tensor is cut into as many parts as there are ranks. For n - 1 turns each rank passes one part to its right and
    adds what comes from its left: then each holds one part of the sum. For n - 1 turns more the finished parts go round.
    """
    rank, n, sent = distributed.get_rank(group), distributed.get_world_size(group), 0
    parts = [part.clone() for part in mine.flatten().tensor_split(n)]
    for turn in range(2 * (n - 1)):
        going, coming = parts[(rank - turn) % n], torch.empty_like(parts[(rank - turn - 1) % n])
        moves = P2POp(isend, going, group=group, group_peer=(rank + 1) % n)
        moves = moves, P2POp(irecv, coming, group=group, group_peer=(rank - 1) % n)
        for request in batch_isend_irecv(list(moves)):
            request.wait()
        sent += going.nbytes
        if turn < n - 1:
            parts[(rank - turn - 1) % n] += coming
        else:
            parts[(rank - turn - 1) % n] = coming
    return torch.cat(parts).view_as(mine), sent


def gradient(config: ModelConfig, images: Tensor, labels: Tensor, seed: int) -> Tensor:
    """The gradient of the mean loss on these images, all parameters in one row; the network has the images' type."""
    net = AlexNet(config, seed).to(images.dtype)
    cross_entropy(net(images), labels).backward()
    return torch.cat([p.grad.flatten() for p in net.parameters()])


def share_of_a_step(group: distributed.ProcessGroup, config: ModelConfig, images: Tensor, labels: Tensor, seed: int) -> dict:
    """What one process of data parallelism does: the gradient of its share of the batch, then the mean over all ranks.

    Returns:
        gradient: the mean; own: before the exchange; sent: bytes; torch: the mean by torch's own all_reduce.
    """
    rank, n = distributed.get_rank(group), distributed.get_world_size(group)
    own = gradient(config, images.chunk(n)[rank], labels.chunk(n)[rank], seed)
    total, sent = ring_all_reduce(group, own)
    theirs = own.clone()
    distributed.all_reduce(theirs, group=group)
    return {"gradient": total / n, "own": own, "sent": sent, "torch": theirs / n}
