"""Bucket stores through obstore, which is written in Rust."""
