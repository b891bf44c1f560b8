"""What instances expose of each signal, for people who write signals: its series, or the nearest names."""

from collections.abc import Sequence

from rollout.core.errors import TransientError
from rollout.core.model import Instance
from rollout.ports import Ask, Found
from rollout.sources.exposition import Exposition
from rollout.sources.scrape_series import counters, levels, started
from rollout.sources.scrape_signals import Meaning

SHOWN = 3  # sentences about instances; the others say the same


def look(
    ask: Ask, meanings: Sequence[Meaning], answers: Sequence[Exposition | TransientError], version_label: str
) -> tuple[Found, ...]:
    """One answer for each instance of `ask`, in its order, becomes what there is of each signal."""
    return tuple(_of_signal(ask, meaning, answers, version_label) for meaning in meanings)


def _of_signal(
    ask: Ask, meaning: Meaning, answers: Sequence[Exposition | TransientError], version_label: str
) -> Found:
    series, versions, said = 0, dict[str, int](), list[str]()
    for instance, answer in zip(ask.instances, answers, strict=True):
        try:
            series += _series(meaning, instance, answer, version_label)
        except TransientError as error:
            said.append(f"{instance.id} ({instance.version}) {error}")
            continue
        versions[instance.version] = versions.get(instance.version, 0) + 1
    more = [f"and {len(said) - SHOWN} more instances"] if len(said) > SHOWN else []
    return Found(
        signal=meaning.signal.name,
        series=series,
        versions=versions,
        newest=ask.now if series else None,
        said="; ".join([*said[:SHOWN], *more]),
    )


def _series(
    meaning: Meaning, instance: Instance, answer: Exposition | TransientError, version_label: str
) -> int:
    """How many series of one instance make the signal. Raises TransientError when they are no evidence."""
    if isinstance(answer, TransientError):
        raise answer
    found = answer.of_version(version_label, instance.version, meaning.spec.metrics)
    if meaning.spec.starts:
        started(meaning.spec.starts, found)
        return 1
    return len((levels if meaning.spec.value else counters)(meaning, found).values)
