"""Write-ahead journal: intents, outcomes of commits and registered schemas, which keep rows and bytes together."""
