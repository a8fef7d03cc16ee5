"""The rows that compare with a busy machine: what they count, on work that takes no time."""

import time

import pytest
from benchmarks import busy, turns


class Work:
    """Takes so long without the busy process and so long beside it."""

    def __init__(self, other: list[bool], quiet: float, beside: float):
        self.other, self.times = other, (quiet, beside)

    def __call__(self) -> None:
        time.sleep(self.times[self.other[-1]])


@pytest.mark.parametrize("beside, kept", [((0.02, 0.02), 1.0), ((0.04, 0.02), 0.5)])
def test_what_is_left_of_an_advantage(monkeypatch, beside, kept):
    state = [False]

    class Switch(busy.BusyProcess):
        def let(self, go: bool) -> None:
            super().let(go)
            state.append(go)

    monkeypatch.setattr(busy, "BusyProcess", Switch)
    monkeypatch.setattr(turns, "clock", lambda: "wall")
    ours, theirs = (Work(state, 0.02, slow) for slow in beside)
    row = busy.beside("sleep", ours, theirs, 3)
    assert row["ratio"] == pytest.approx(kept, rel=0.5) and row["low"] <= row["ratio"] <= row["high"]
    assert row["target"] == busy.KEPT and row["turns"] == 3
    assert row["theirs"] == pytest.approx(1.0, rel=0.5) and row["ours"] == pytest.approx(kept, rel=0.5)


def test_the_busy_process_computes_only_when_it_is_let():
    def spent(process: busy.BusyProcess) -> int:
        """Clock ticks of the processor that it has used."""
        with open(f"/proc/{process.process.pid}/stat") as file:
            return sum(map(int, file.read().rsplit(")", 1)[1].split()[11:13]))

    with busy.BusyProcess() as other:
        time.sleep(0.2)
        stopped = spent(other)
        time.sleep(0.3)
        assert spent(other) == stopped
        other.let(True)
        deadline = time.monotonic() + 30
        while spent(other) == stopped:
            assert time.monotonic() < deadline
            time.sleep(0.05)
    assert other.process.returncode is not None
