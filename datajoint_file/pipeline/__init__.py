"""Pipeline: a project's store with its rules, upload and manifest of directories, and the handles a fetch gives."""
