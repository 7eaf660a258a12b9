"""Scores of answers: the benchmarks' own rule beside the strict one and the letter."""
