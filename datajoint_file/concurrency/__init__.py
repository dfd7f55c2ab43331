"""Threads, executors and progress bars."""
