"""Restore drill: a backup of database and store is brought up beside the real ones, verified and compared with them.

Neither the real ones nor the backup are changed. Only `comparison`, `databases`, `drill` and `rows` know DataJoint.
"""
