"""Transfer of bytes between what users give, stores, and local files."""
