"""Two towers as two processes, in figures: what each process holds and sends in a step, beside the estimates.

python tools/measure_towers.py [--batch 128] [--steps 1] [--record]. On GPUs where there are enough, else on processors. The figures go
to runs/towers/, with --record to results/towers/. "wire" is everything that this machine sends to itself meanwhile; give the
command a network of its own, so that nobody else talks there:

unshare --net --map-root-user sh -c "ip link set lo up; python tools/measure_towers.py"
"""

import argparse
import statistics
import sys
import time
from pathlib import Path

import torch
from ending import ended
from torch import distributed, nn
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook
from torch.profiler import ProfilerActivity, profile

from alexnet_lib import AlexNet, ModelConfig
from alexnet_lib.evidence import records
from alexnet_lib.evidence.costs import bytes_per_pass, bytes_sent, training_memory, without_storage
from alexnet_lib.optim import PaperSGD, Rates
from alexnet_lib.system.processes import run_in_processes
from alexnet_lib.towers import Tower, loss

MIB = 2**20
SCHEMES = {  # name -> (network, processes)
    "whole": ("paper", 1),
    "towers": ("paper", 2),
    "data parallel": ("paper", 2),
    "one_gpu": ("one_gpu", 1),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=128, help="images in a step, over all processes")
    parser.add_argument("--steps", type=int, default=1, help="steps to time; 100 for the claim on two GPUs")
    parser.add_argument("--record", action="store_true", help="write to results/towers/")
    asked = parser.parse_args()
    if asked.batch < 2 or asked.steps < 1:
        parser.error("--batch is 2 or more, an image a process, and --steps 1 or more")
    rows = []
    for scheme, (network, processes) in SCHEMES.items():
        rows += (of_scheme := measure(scheme, ModelConfig.preset(network), asked.batch, processes, asked.steps))
        for row in of_scheme:
            sizes = (f"{name} {row[name] / MIB:.1f}" for name in ("peak", "estimate", "resident", "sent", "formula"))
            print(f"{scheme}, process {row['rank']}, {row['images']} images, MiB: {', '.join(sizes)}")
        print(
            f"    {of_scheme[0]['seconds']:.3g} s a step; on the wire, from all processes: {of_scheme[0]['wire'] / MIB:.1f} MiB"
        )
    record = {"experiment": "towers", "arm": "gpu" if torch.cuda.is_available() else "cpu", "seed": 0}
    record |= {"environment": records.environment() | {"precision": "float32", "batch": asked.batch}}
    record |= {"metrics": {f"{r['scheme']} {r['rank']} peak": r["peak"] for r in rows}, "rows": rows}
    records.keep(record, asked.record)


def measure(scheme: str, config: ModelConfig, batch: int, processes: int, steps: int = 1) -> list[dict]:
    """What each process holds and sends in one training step: a row a process, all sizes in bytes.

    seconds: the median time of the steps, which says little on processors that others use.

    peak: the most that torch had allocated at once; estimate: the same by costs.training_memory; resident: by how much
    the process grew (0 on GPUs and where the system does not say), which includes what libraries take for themselves.
    sent: counted as it was sent; formula: the same worked out; wire: all that crossed, packets and answers included.
    """
    backend = "nccl" if torch.cuda.device_count() >= processes else "gloo"
    seen = run_in_processes(watched, scheme, config, batch, steps, processes=processes, timeout=900, backend=backend)
    rows = []
    for rank, row in enumerate(seen):
        images = batch // processes if scheme == "data parallel" else batch
        estimate = training_memory(without_storage(config, rank if scheme == "towers" else None), images)
        peak, formula = estimate["peak"], 0
        if scheme == "towers":  # forward and backward; what one tower sends up the other sends back down
            formula = 2 * sum(bytes_per_pass(config, batch).values()) // processes
        elif scheme == "data parallel":  # a ring: each sends 2 (N - 1) / N of the gradients, out of buffers of their size
            formula = 2 * (processes - 1) * estimate["gradients"] // processes
            peak += estimate["gradients"]
        expected = {"estimate": peak, "formula": formula}
        rows.append({"scheme": scheme, "network": config.name, "rank": rank, "images": images, **row, **expected})
    return rows


def watched(group: distributed.ProcessGroup, scheme: str, config: ModelConfig, batch: int, steps: int) -> dict:
    """Training steps in this process, with an eye on its memory and the wire; on a processor once more for the allocator."""
    on_gpu = distributed.get_backend(group) == "nccl"
    take_steps(group, scheme, config, distributed.get_world_size(group), 1)  # loads the code that is needed
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
    start, before = resident(restart=True), on_the_wire()
    facts = take_steps(group, scheme, config, batch, steps)
    distributed.barrier(group)
    facts |= {"wire": (on_the_wire() - before) // steps, "resident": 0 if on_gpu else resident() - start}
    if on_gpu:
        return facts | {"peak": torch.cuda.max_memory_allocated()}
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True, acc_events=True) as seen:
        take_steps(group, scheme, config, batch, 1)
    return facts | {"peak": allocated(seen)}


def take_steps(group: distributed.ProcessGroup, scheme: str, config: ModelConfig, batch: int, steps: int) -> dict:
    """Steps of the paper's rule on random images: the median time of one in s, and the bytes that this process sent in it."""
    device = torch.device("cuda" if distributed.get_backend(group) == "nccl" else "cpu")
    count, reduced, times = distributed.get_world_size(group), [], []
    net = (Tower(config, group) if scheme == "towers" else AlexNet(config, 0)).to(device).train()
    optimiser, rates = PaperSGD(net), Rates(1e-4).by_parameter(net)
    network: nn.Module = net
    if scheme == "data parallel":
        network, batch = nn.parallel.DistributedDataParallel(net, init_sync=False), batch // count

        def reduce(group, bucket):
            reduced.append(bucket.buffer().nbytes)
            return allreduce_hook(group, bucket)

        network.register_comm_hook(group, reduce)
    images = torch.randn(batch, 3, config.image_size, config.image_size, device=device)
    labels = torch.arange(batch, device=device) % config.classes
    for _ in range(steps):
        began = time.perf_counter()
        reduced.clear()
        optimiser.descend(loss(network(images), labels), rates)
        if device.type == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - began)
    messages = sum(bytes_sent(net.link.messages, net.link.tower).values()) if scheme == "towers" else 0
    return {"seconds": statistics.median(times), "sent": messages or 2 * (count - 1) * sum(reduced) // count}


def allocated(seen: profile) -> int:
    """The most that was allocated at once on the processor while a profile was taken, in bytes."""
    events = [event for event in seen.profiler.kineto_results.events() if event.name() == "[memory]"]
    total = most = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        total += event.nbytes()
        most = max(most, total)
    return most


def resident(restart: bool = False) -> int:
    """Bytes of memory that this process had at most since the count was restarted; 0 where the system does not say."""
    try:
        if restart:
            Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")
        status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines())
        return 1024 * int(status["VmHWM"].split()[0])
    except OSError:
        return 0


def on_the_wire() -> int:
    """Bytes that this machine has sent to itself through its loopback network; 0 where the system does not say."""
    try:
        counts = dict(line.split(":", 1) for line in Path("/proc/net/dev").read_text(encoding="utf-8").splitlines()[2:])
        return next(int(words.split()[0]) for name, words in counts.items() if name.strip() == "lo")
    except (OSError, StopIteration):
        return 0


if __name__ == "__main__":
    sys.exit(ended(main))
