"""Concurrency: threads, executors and progress bars."""
