"""The YAML files that people write: regions.yaml, policies/*.yaml and policies/signals.yaml.

document.py knows YAML and lines, shapes.py the files' keys, load.py puts them together, files.py reloads
them, revisions.py numbers policies, schemas.py tells editors. Nothing else of the product reads YAML.
"""

from rollout.config.files import ConfigurationFiles
from rollout.config.load import Configuration, PolicyFile, load_configuration, parse_policy
from rollout.config.nouns import refuse_unreadable
from rollout.config.revisions import Book, Revisions
from rollout.config.schemas import policy_schema, regions_schema, signals_schema

__all__ = [
    "Book",
    "Configuration",
    "ConfigurationFiles",
    "PolicyFile",
    "Revisions",
    "load_configuration",
    "parse_policy",
    "policy_schema",
    "refuse_unreadable",
    "regions_schema",
    "signals_schema",
]
