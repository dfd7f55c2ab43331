"""Configuration: ``datajoint.toml`` and the environment, read once into frozen settings.

Nothing here opens a store or knows DataJoint.
"""

from datajoint_file.config.bindings import Binding, bind, binding_of
from datajoint_file.config.loader import find_configuration, load_settings, parse_settings
from datajoint_file.config.settings import ObjectStorageSettings, Settings, StorageSettings

__all__ = [
    "Binding",
    "ObjectStorageSettings",
    "Settings",
    "StorageSettings",
    "bind",
    "binding_of",
    "find_configuration",
    "load_settings",
    "parse_settings",
]
