"""Read-only web page of a lab's files, for the browser of the person who has started it, and for nobody else."""
