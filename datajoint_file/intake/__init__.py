"""Intake: directories whose files become rows, once or as they come, and are freed when they are stored."""
