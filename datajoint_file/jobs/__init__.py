"""Jobs: directories whose files become rows, once or whenever new ones come."""
