"""Adapters to DataJoint: codec, declaration, connections, rows and keys of tables."""
