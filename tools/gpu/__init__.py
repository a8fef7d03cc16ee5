"""Everything that waits for a card, by one command: `make gpu`, or python -m gpu with tools/ on the path.

checks.py: tests marked `gpu`. speed.py: ratios. grid.py, evidence.py, oncard.py: the experiments, many runs side by side.
start.py: does the loss of the paper's network leave ln(1000)? parcels.py: what came out, to carry home; report.py: as tables.
"""
