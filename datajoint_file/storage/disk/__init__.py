"""The store on a POSIX file system."""
