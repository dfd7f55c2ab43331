"""Remote stores through fsspec, whatever the protocol."""
