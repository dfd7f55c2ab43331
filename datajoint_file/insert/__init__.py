"""Inserts, updates, removals and staging: from the user's value to bytes and row, and from the row to its history."""
