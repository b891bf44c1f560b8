"""Samples → evidence → verdict. Pure numbers: the same input gives the same bits on any machine.

What must not live here: reading sources, deciding what to do about a verdict, wording for people.

    begin      calibrates on history and opens the evidence of a region
    hold_off   keeps a warm-up out of the sequential tests; after it a pass is earned anew
    update     takes samples in, each once; constant size
    judge      one verdict per check and region, one threshold over all
    replay     the same, over recorded samples
"""

from rollout.core.judge.calibrate import TOLERANCE, tolerance
from rollout.core.judge.combine import cell_weights, judge, threshold
from rollout.core.judge.detect import detectable, exposure_to_rule_out, needed_hours, needed_requests
from rollout.core.judge.evidence import RegionEvidence, of_this_form, without_peers
from rollout.core.judge.replay import Point, Timeline, replay
from rollout.core.judge.take import begin, hold_off, update

__all__ = [
    "TOLERANCE",
    "Point",
    "RegionEvidence",
    "Timeline",
    "begin",
    "cell_weights",
    "detectable",
    "exposure_to_rule_out",
    "hold_off",
    "judge",
    "needed_hours",
    "needed_requests",
    "of_this_form",
    "replay",
    "threshold",
    "tolerance",
    "update",
    "without_peers",
]
