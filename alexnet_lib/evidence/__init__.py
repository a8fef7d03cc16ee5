"""From runs to verdicts: records, experiments, the ledger of claims. It imports the core, data and system."""
