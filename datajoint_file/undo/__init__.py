"""Undo: what cells held, and putting it back: earlier files of a row, and rows that were deleted."""
