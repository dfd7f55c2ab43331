"""Inserts, updates, removals, staging and `create`: from a value to bytes and row, and from the row to its history."""
