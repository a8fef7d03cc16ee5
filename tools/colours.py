"""Compares the colours of data sets with ImageNet's: python tools/colours.py [--record] DATA...

Prints the eigenvalues of the RGB covariance for pixels in 0 to 1 beside the published ones of ImageNet, on which the
paper's colour noise rests (section 4.1).
"""

import argparse
import sys

import numpy as np
from ending import ended

from alexnet_lib import open_dataset
from alexnet_lib.evidence import records

PUBLISHED = np.array([0.2175, 0.0188, 0.0045])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", nargs="+")
    parser.add_argument("--record", action="store_true", help="write to results/colours/")
    asked = parser.parse_args()
    print(f"{'ImageNet, published':24}", *(f"{v:8.4f}" for v in PUBLISHED))
    for data in asked.data:
        dataset = open_dataset(data)
        values, vectors = dataset.colour_axes
        print(
            f"{dataset.name:24}", *(f"{v:8.4f}" for v in values), "   over published:", *(f"{r:5.2f}" for r in values / PUBLISHED)
        )
        if asked.record:
            record = {"experiment": "colours", "arm": dataset.name, "seed": 0, "data": {"train": records.data_facts(dataset)}}
            record |= {"environment": records.environment(), "eigenvectors": vectors.T.round(4).tolist()}
            record |= {"metrics": {f"eigenvalue_{i}": round(float(v), 5) for i, v in enumerate(values, 1)}}
            record["metrics"] |= {f"over_published_{i}": round(float(r), 3) for i, r in enumerate(values / PUBLISHED, 1)}
            records.write(record, records.results_path(record))


if __name__ == "__main__":
    sys.exit(ended(main))
