"""What towers say to each other (section 3.2): the messages, counted as they are sent, and the layer that sends them.

A layer that reads all towers fetches their maps first, and on the way back sends each tower its share of the gradient.
`Exchange` does both, through torch.distributed: gloo between processors, NCCL between GPUs. What crosses in a step of the
paper's network, by count and on the wire, is in results/towers/.
"""

import time
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, distributed, nn
from torch.autograd.function import once_differentiable
from torch.distributed import P2POp, batch_isend_irecv, irecv, isend


class Message(NamedTuple):
    """A tensor that went from one tower to another, as noted by the sender or by the receiver."""

    layer: str  # the layer that reads it
    way: str  # "forward" or "backward"
    source: int
    target: int
    bytes: int
    began: float  # time.perf_counter() at this end, in s: ready to send or to receive
    ended: float  # all that this tower exchanges at this layer has gone through


class Link:
    """A tower's line to the others.

    Args:
        group: the process group whose ranks are the towers, such as one dimension of a device mesh; None is the world.
    """

    def __init__(self, group: distributed.ProcessGroup | None = None):
        self.group = distributed.group.WORLD if group is None else group
        self.tower, self.towers = distributed.get_rank(self.group), distributed.get_world_size(self.group)
        self.messages: list[Message] = []

    def swap(self, layer: str, way: str, outgoing: dict[int, Tensor], incoming: dict[int, Tensor]):
        """Sends outgoing[t] to tower t and fills incoming[t] with what tower t sends.

        All at once: if each tower sent before it received, they could wait for each other for ever.
        """
        began = time.perf_counter()
        self._move(outgoing, incoming)
        times = began, time.perf_counter()
        for t, x in outgoing.items():
            self.messages.append(Message(layer, way, self.tower, t, x.nbytes, *times))
        for t, x in incoming.items():
            self.messages.append(Message(layer, way, t, self.tower, x.nbytes, *times))

    def _move(self, outgoing: dict[int, Tensor], incoming: dict[int, Tensor]) -> None:
        sent = {t: x.cpu() if self._goes_by_host(x) else x for t, x in outgoing.items()}
        received = {t: torch.empty_like(x, device="cpu") if self._goes_by_host(x) else x for t, x in incoming.items()}
        moves = [P2POp(isend, x, group=self.group, group_peer=t) for t, x in sent.items()]
        moves += [P2POp(irecv, x, group=self.group, group_peer=t) for t, x in received.items()]
        for request in batch_isend_irecv(moves) if moves else ():
            request.wait()
        for t, x in incoming.items():
            if received[t] is not x:
                x.copy_(received[t])

    def _goes_by_host(self, x: Tensor) -> bool:
        """Whether a tensor must leave its card to be sent: gloo reads the processor's memory, and fails on a card's."""
        return x.is_cuda and distributed.get_backend(self.group) == "gloo"


class _AllGather(torch.autograd.Function):
    """Forward, the readers get the units of all towers.

    Backward, each tower gets from every reader the gradient of its own units, and adds them up.
    """

    @staticmethod
    def forward(ctx, own: Tensor, link: Link, layer: str, readers: Sequence[int]) -> Tensor:
        ctx.facts = link, layer, readers, own.shape
        own, towers = own.contiguous(), range(link.towers)
        reads = link.tower in readers
        outgoing = {t: own for t in readers if t != link.tower}
        incoming = {t: torch.empty_like(own) for t in towers if reads and t != link.tower}
        link.swap(layer, "forward", outgoing, incoming)
        parts = incoming | {link.tower: own}
        return torch.cat([parts[t] for t in towers], 1) if reads else own.new_empty(len(own), 0)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor):
        link, layer, readers, shape = ctx.facts
        shares = gradient.chunk(link.towers, 1) if link.tower in readers else ()
        outgoing = {t: x.contiguous() for t, x in enumerate(shares) if t != link.tower}
        incoming = {t: gradient.new_empty(shape) for t in readers if t != link.tower}
        link.swap(layer, "backward", outgoing, incoming)
        parts = incoming | ({link.tower: shares[link.tower]} if shares else {})
        return sum(parts[t] for t in sorted(parts)), None, None, None


class Exchange(nn.Module):
    """Before a layer that reads all towers: (N, C / towers, ...) of each tower becomes (N, C, ...) in every reader.

    A tower that does not read gets an empty tensor (N, 0), through which its gradient comes home.
    """

    def __init__(self, link: Link, layer: str, readers: Sequence[int]):
        super().__init__()
        self.link, self.layer, self.readers = link, layer, readers

    def forward(self, own: Tensor) -> Tensor:
        return _AllGather.apply(own, self.link, self.layer, self.readers)

    def extra_repr(self) -> str:
        return f"{self.layer}, read by towers {list(self.readers)}"
