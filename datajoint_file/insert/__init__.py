"""Inserts, updates and staging of files: from the user's value to bytes and row."""
