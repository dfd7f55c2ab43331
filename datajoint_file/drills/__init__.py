"""Restore drill: a backup of database and store is brought up beside the real ones, verified and compared with them.

Neither the real ones nor the backup are changed. Only `comparison`, `drill`, `rows` and `servers` know DataJoint.
"""
