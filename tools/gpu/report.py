"""What cards have shown so far, as Markdown: for chapter 13 and the page on many machines."""

from alexnet_lib.evidence import records

ARMS = {  # of gpu/start.py
    "biases-1": "biases of 1",
    "biases-0.1": "biases of 0.1",
    "biases-0": "biases of 0",
    "source-0.03": "biases of 1; conv3 to conv5 with a deviation of 0.03, as in the source",
}
NOT_YET = "No card's speed is on record. Measured by: `make gpu`."


def speed() -> str:
    """A table of ratios for each card whose record is in results/gpu/; "" where there is none."""
    found = [r for r in records.read_experiment("gpu") if r["arm"].startswith("speed-") and "cpu" not in r["arm"]]
    return "\n\n".join(_ratios(r) for r in found)


def markdown() -> str:
    """Those tables, or the command that makes them; and one of the first steps."""
    starts = [r for r in records.read_experiment("paper_start") if r["environment"]["device"] != "cpu"]
    return "\n\n".join([speed() or NOT_YET, *([_starts(starts)] if starts else [])])


def _ratios(record: dict) -> str:
    versions = record["environment"]["versions"]
    head = f"{record['environment']['device']}, torch {versions['torch']}:"
    lines = ["| what | ratio | turns from, to | wanted |", "|---|---|---|---|"]
    for row in record["rows"]:
        if "ratio" in row:
            spread = f"{row['low']:.2f}, {row['high']:.2f}" if "low" in row else ""
            lines.append(f"| {row['what']} | {row['ratio']:.2f} | {spread} | {row.get('target') or ''} |")
    return "\n".join([head, "", *lines])


def _starts(found: list[dict]) -> str:
    """By arm: after how many steps the loss left that of guessing, for each seed."""
    lines = ["| initial biases and weights | seed | loss of guessing | left by step | loss at the end |", "|---|---|---|---|---|"]
    for r in found:
        m = r["metrics"]
        left = m.get("left_chance_by_step", "not in these steps")
        lines.append(
            f"| {ARMS.get(r['arm'], r['arm'])} | {r['seed']} | {m['loss_of_chance']:.2f} | {left} | {m['last_loss']:.2f} |"
        )
    images, steps = found[0]["data"]["train"]["images"], len(found[0]["first_losses"])
    head = f"The first {steps:,} steps of the paper's network on {images:,} images of ImageNet; guessing knows which classes they have:"
    return "\n".join([head, "", *lines])
