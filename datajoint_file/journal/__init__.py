"""Write-ahead journal: intents, histories, sources, shared objects, outcomes of commits, checks, registered schemas.

What keeps rows and bytes together: tables ``~file_…`` beside those of the user, and what is told by them.
"""
