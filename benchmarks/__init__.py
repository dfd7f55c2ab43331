"""Measure the package beside what people use today, and beside what the machine can do at most.

``python -m benchmarks`` runs the comparisons, ``python -m benchmarks growth`` time and memory against size and number;
``python -m benchmarks.report`` puts their figures into the documentation. Every case runs in a process of its own, and
the contenders of a comparison take turns, so that a machine that is busy for a while is busy for all of them.
"""
