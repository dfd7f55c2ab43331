"""Adapters to DataJoint: wrapped functions, codec, declaration, connections, rows and keys of tables."""
