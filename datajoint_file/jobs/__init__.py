"""Jobs: the files that a computation makes, and is given."""
