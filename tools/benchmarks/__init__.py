"""The rows of the benchmark, a file for each part of the library, and what they share (turns.py)."""
