"""Jobs: the files that a computation makes, and those that it is given, in a scratch directory."""
