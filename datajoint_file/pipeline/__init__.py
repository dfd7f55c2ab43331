"""Pipeline: a project's store with its rules, and the lazy handle of a stored file."""
