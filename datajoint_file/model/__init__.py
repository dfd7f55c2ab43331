"""Values without I/O: what a row records of a file, what a manifest says of a directory, and how objects are named."""
