"""The rows that compare with a busy machine: what they count, on work that takes no time."""

import time
from contextlib import ExitStack, nullcontext

import bench
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


def test_trainings_at_once_against_one_after_the_other(monkeypatch):
    """Each takes 50 ms, at once as well as alone: at once four take a quarter of the time, and the row says so."""

    class Sleeps:
        def __init__(self, *_, **__): ...
        def __enter__(self):
            return self

        def __exit__(self, *_): ...
        def start(self):
            self.began = time.monotonic()

        def finish(self):
            time.sleep(max(0.0, self.began + 0.05 - time.monotonic()))
            return 0.05

        def seconds(self):
            self.start()
            return self.finish()

    monkeypatch.setattr(busy, "Process", Sleeps)
    row = busy.together(4, 3)
    assert row["what"].startswith("4 trainings") and row["target"] == busy.TOGETHER and row["turns"] == 3
    assert 2 < row["ratio"] <= 4.1 and row["low"] <= row["ratio"] <= row["high"]
    assert row["theirs"] == pytest.approx(0.2) and 0.05 <= row["ours"] < 0.1


def test_each_thing_that_quiet_rows_measure_is_measured_beside_a_busy_process(monkeypatch, tmp_path):
    def nothing(*_, **__):
        return lambda: None

    for module, names in (
        (busy.normalisation, ["both_ways"]),
        (busy.network, ["step"]),
        (busy.epochs, ["library", "textbook"]),
        (busy.pipeline, ["write_jpegs", "packed", "with_pil"]),
    ):
        for name in names:
            monkeypatch.setattr(module, name, nothing)
    monkeypatch.setattr(busy.packing, "files_of", lambda folder: [])
    monkeypatch.setattr(busy, "open_dataset", nothing)
    monkeypatch.setattr(busy, "Process", lambda *_, **__: nullcontext())
    with ExitStack() as stack:
        names = [what for what, *_ in busy.work(tmp_path, stack)]
    wanted = ("LRN", "step of preset paper", "epoch of the small", "packing JPEG", "256x256 pixels", "input pipeline")
    assert len(names) == len(wanted) and all(word in name for word, name in zip(wanted, names, strict=True))


@pytest.mark.parametrize("has, precisions", [(True, ["bfloat16", "float32"]), (False, ["float32"])])
def test_the_epoch_is_measured_in_the_precision_that_the_preset_has_here(monkeypatch, has, precisions):
    monkeypatch.setattr("alexnet_lib.system.precision.has_bfloat16", lambda device: has)
    monkeypatch.setattr(busy.epochs, "open_dataset", lambda name: range(3000))
    monkeypatch.setattr(busy.epochs, "library", lambda dataset, folder, precision: precision)
    monkeypatch.setattr(busy.epochs, "textbook", lambda dataset: None)
    monkeypatch.setattr(busy.epochs, "in_turns", lambda what, ours, theirs, turns, images, target=0.0: (ours, target))
    found = list(busy.epochs.rows(3))
    assert [precision for precision, _ in found] == precisions
    assert found[0][1] == busy.epochs.TARGETS[precisions[0]] and all(target == 0 for _, target in found[1:])


@pytest.mark.parametrize(
    "ratio, there, missed", [(0.96, {}, 0), (0.94, {}, 1), (0.5, {"processor": "B"}, 0), (0.5, {"bfloat16": True}, 0)]
)
def test_a_row_below_the_record_of_the_same_kind_of_machine_is_named(ratio, there, missed):
    machine = {"processor": "A", "cores": 2, "threads": 2, "device": "cpu", "bfloat16": False}
    before = {"environment": machine | there, "metrics": {"LRN, 1 threads": 2.0, "gone, 1 threads": 3.0}}
    now = {"environment": machine, "metrics": {"LRN, 1 threads": 2.0 * ratio, "new, 1 threads": 0.1}}
    assert len(bench.fallen(now, before)) == missed and bench.fallen(now, None) == []


def test_a_bench_that_fails_leaves_the_record(monkeypatch, tmp_path):
    monkeypatch.setenv("ALEXNET_RESULTS", str(tmp_path / "results"))
    monkeypatch.setenv("ALEXNET_RUNS", str(tmp_path / "runs"))
    monkeypatch.setattr("sys.argv", ["bench.py", "--record"])
    found = {"what": "LRN", "threads": 1, "target": 2.0, "ratio": 3.0}
    monkeypatch.setattr(bench, "PARTS", {"normalisation": lambda turns: [found]})
    monkeypatch.setattr(bench, "shown", lambda row: row["what"])
    monkeypatch.setattr(bench.memory, "keep_pages", lambda: None)
    bench.main()
    (record,) = (tmp_path / "results").rglob("*.json")
    before = record.read_bytes()
    found["ratio"] = 1.0
    with pytest.raises(SystemExit, match=r"below target: LRN: 1\.00 for 2"):
        bench.main()
    assert record.read_bytes() == before and list((tmp_path / "runs").rglob("*.json"))


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
