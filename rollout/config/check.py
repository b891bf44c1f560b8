"""Checking one policy that is not in its file yet, as the whole configuration would check it."""

from rollout.config.document import read_document
from rollout.config.load import Configuration
from rollout.config.nouns import policy_of, refuse_unfit
from rollout.core.plan import Plan, compile_plan


def check_policy(text: str, configuration: Configuration, place: str = "policy") -> Plan:
    """Compile a policy's text against the regions and signals in use.

    Raises InvalidInput whose places are `place:line: path`.
    """
    document = read_document(text, place)
    policy = policy_of(document, "")
    refuse_unfit(policy, document, configuration.regions, configuration.signals)
    return compile_plan(policy, configuration.regions, configuration.signals)
