"""The promises S1 to S16 of docs/invariants.md, asserted in production: they stop a rollout, not the process.

`broken` looks at a decision before it is committed, `kept` refuses one that would break a promise, and
`may_begin` looks at an action before it is done. Pure, and of their own: they share no judgement with decide.
What the database holds (S1, S3, S13) is asserted here as well, so that it is said by its number.
"""

from rollout.core.invariants.beginning import may_begin
from rollout.core.invariants.looked import Broken, Looked
from rollout.core.invariants.refusal import Kept, broken, kept

__all__ = ["Broken", "Kept", "Looked", "broken", "kept", "may_begin"]
