"""Stores in buckets, through obstore, which is written in Rust."""
