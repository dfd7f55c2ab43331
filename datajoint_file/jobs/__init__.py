"""Bulk import: rows from the paths of existing files, and directories that are watched for new ones."""
