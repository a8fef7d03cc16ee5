"""The directive {live-facts}: what the network in the page book/live.md is and how it errs, from its record and its script."""

import sys
from pathlib import Path

from sphinx.util.docutils import SphinxDirective

from alexnet_lib.evidence import records

sys.path.append(str(Path(__file__).resolve().parents[2] / "tools"))


def markdown() -> str:
    """Raises InputError where the script is not the network of its record."""
    import live

    network = live.read()
    record = records.read(records.results_root() / network["record"])
    metrics, train, coarse = record["metrics"], record["train"], network["int8"]
    return (
        f"**What it is.** The network `{record['model']['name']}` with {network['parameters']:,} weights and biases, trained on "
        f"{record['data']['train']['images']:,} patches of the ten photographs of `{record['data']['train']['name']}` for "
        f"{train['epochs']} epochs, seed {record['seed']}. Of {coarse['test_images']:,} test patches it gets "
        f"{metrics['test_centre_top1_error']:.1f} % wrong by the centre crop, which is all that this page looks at, and "
        f"{metrics['test_top1_error']:.1f} % by ten views; guessing blindly, {metrics['chance_error']:.0f} %. For this page its "
        f"weights are rounded to eight bits: then {coarse['test_centre_top1_error']:.1f} % are wrong, and "
        f"for {coarse['other_guesses']} of the {coarse['test_images']:,} the guess is another. Record: `results/{network['record']}`."
    )


class Facts(SphinxDirective):
    def run(self) -> list:
        self.env.note_reread()  # Sphinx watches neither the record nor the script
        return self.parse_text_to_nodes(markdown())


def setup(app) -> dict:
    app.add_directive("live-facts", Facts)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
