"""Jobs: the files that a computation makes and is given; directories whose files become rows, once or as they come."""
