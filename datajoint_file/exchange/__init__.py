"""Slices for others: rows, what they depend on, definitions and files as a tree with checksums, written and read."""
