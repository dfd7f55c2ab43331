"""Stores reached through fsspec, whatever the protocol."""
