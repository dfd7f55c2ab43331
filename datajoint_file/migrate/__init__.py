"""Column migration: values of DataJoint's other types for files, and of paths, become a `file` attribute."""
