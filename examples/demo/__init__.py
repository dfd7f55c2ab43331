"""`make demo`: a database server and a project directory of its own, and a tour of the pipeline in `imaging.py`."""
