"""Queries over files: conditions on what rows say of them, look-ups, listings and sums, without moving a byte."""
