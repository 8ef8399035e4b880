"""
Measurements of the pool, side by side with the same work done bare: `python -m benchmarks`, or `make bench`.

Ratios, not seconds: the contenders run by turns in one run on one machine, several rounds each. A median is reported
with its spread (the lowest and the highest round). `--quick` only shows that a measurement works.
"""
