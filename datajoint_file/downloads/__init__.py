"""Downloads of the files of a query."""
