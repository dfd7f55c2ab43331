"""Byte transfer between what users give, stores, and local files and directories."""
