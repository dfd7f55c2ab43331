"""What to copy from, and the demo that shows it running."""
