"""Inserts, updates and staging: from the user's value to bytes and row."""
