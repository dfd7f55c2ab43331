"""Values without I/O: what a row records of a file, and how objects are named."""
