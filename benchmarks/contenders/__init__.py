"""The ways to do the work: context managers that prepare, yield what is timed, and check afterwards that it was done.

What they store is removed by whoever started the process.
"""
