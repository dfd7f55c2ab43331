"""Garbage collector: which objects may be deleted, by what evidence, and deleting them.

Judgement knows stores, and a database only as something that is asked; most of the SQL is in `books` and `references`.
"""
