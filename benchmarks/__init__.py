"""Benchmarks in asv's shape, each beside an obvious alternative in the same run."""
