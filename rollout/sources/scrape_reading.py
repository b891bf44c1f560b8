"""Answers of instances become samples: one number per signal and version, summed over instances.

Pure: no network and no clock. What one instance cannot say becomes a sentence about it, never a guess.
"""

from collections import defaultdict
from collections.abc import Sequence

from rollout.core.errors import TransientError
from rollout.core.model import Instance, Sample, Signal, SignalKind
from rollout.ports import Ask, Reading
from rollout.sources.exposition import LARGEST, Exposition
from rollout.sources.scrape_cursor import JITTER_S, Cursor, Remembered, Restarts
from rollout.sources.scrape_signals import ScrapeSignal, counters, levels, started

START = "process_start_time_seconds"  # what client libraries call it

Specs = Sequence[tuple[Signal, ScrapeSignal]]
Answer = Exposition | TransientError


class Reader:
    """One reading under way: takes instance by instance, then gives the samples."""

    def __init__(self, ask: Ask, specs: Specs, cursor: Cursor, version_label: str) -> None:
        self._ask = ask
        self._specs = specs
        self._cursor = cursor
        self._label = version_label
        self._last = None if cursor.at is None else cursor.at.timestamp()
        starts = [spec.starts for _, spec in specs if spec.starts]
        self._starts = (*starts, START)
        self._metrics = (*self._starts, *(name for _, spec in specs for name in spec.metrics))
        self._sums: dict[tuple[str, str], list[float]] = defaultdict(lambda: [0.0, 0.0])
        self._levels: dict[tuple[str, str], list[float]] = defaultdict(list)
        self._single: list[Sample] = []
        self._read: dict[str, Remembered] = {}
        self._problems: list[str] = []
        self.failures: list[str] = []

    def take(self, instance: Instance, answer: Answer) -> None:
        """Take in one instance. Of one that could not be asked, the restarts count that its deployer saw."""
        known = self._cursor.remembered(instance.id, instance.version, self._ask.now)
        if isinstance(answer, TransientError):
            self._fail(instance, answer)
            self._read[instance.id] = known
            self._all_restarts(instance, None, known)
            return
        try:
            found = answer.of_version(self._label, instance.version, self._metrics)
            start = self._start(instance, found, known)
        except TransientError as untrue:
            self._fail(instance, untrue)
            return
        self._read[instance.id] = known
        known.began(start)
        for signal, spec in self._specs:
            try:
                self._take_signal(instance, signal, spec, found, start, known)
            except TransientError as error:
                self._problem(instance, error, f" Signal {signal.name} gets nothing from it this time.")
        self._all_restarts(instance, found, known)

    def reading(self) -> Reading:
        """The samples in the order of the signals asked for, and what to remember."""
        made = [
            sample
            for signal, spec in self._specs
            for version in sorted({instance.version for instance in self._ask.instances})
            if (sample := self._sample(signal, spec, version)) is not None
        ]
        return Reading(
            samples=(*made, *self._single),
            cursor=self._cursor.next(self._ask.now, self._read),
            problems=tuple(self._problems),
        )

    def _start(self, instance: Instance, found: Exposition, known: Remembered) -> float:
        """When the process started. An older process than the known one is another process: not evidence."""
        named = [name for name in self._starts if found.named(name)]
        start = started(named[0], found) if named else instance.started_at.timestamp()
        if known.start is not None and start < known.start - JITTER_S:
            raise TransientError(
                f"answers as a process {known.start - start:.0f} s older than the one before; "
                "several processes seem to share its address, and each needs its own"
            )
        return start

    def _take_signal(
        self,
        instance: Instance,
        signal: Signal,
        spec: ScrapeSignal,
        found: Exposition,
        start: float,
        known: Remembered,
    ) -> None:
        place = (signal.name, instance.version)
        if spec.kind is SignalKind.RATIO:
            raw = counters(spec, found, self._last)
            rises = known.increase(spec.key, raw.values, start, self._cursor.at)
            if rises is not None:
                sums = self._sums[place]
                # parts of one answer may be moments apart, so a difference of two can fall below zero
                sums[0] += max(0.0, sum(times * rises[name] for name, times in raw.bad.items()))
                sums[1] += sum(times * rises[name] for name, times in raw.total.items())
        elif spec.value is not None:
            values = levels(spec.value, found, self._last)
            self._levels[place].extend(values)

    def _all_restarts(self, instance: Instance, found: Exposition | None, known: Remembered) -> None:
        for signal, spec in self._specs:
            if spec.starts is None:
                continue
            start = None
            if found is not None:
                try:
                    start = started(spec.starts, found)
                except TransientError as error:
                    self._problem(instance, error, f" Signal {signal.name} rests on its deployer's count.")
            self._restarts(instance, signal, spec.key, start, known)

    def _restarts(
        self, instance: Instance, signal: Signal, key: str, start: float | None, known: Remembered
    ) -> None:
        now = self._ask.now
        old = known.restarts.get(key)
        if old is None:  # first sight of this version in this slot: whatever was before is no restart
            known.restarts[key] = Restarts(start=start, count=instance.restarts, at=now)
            return
        new, known.restarts[key] = old.since(start, instance.restarts, now)
        if start is None and not new:
            return  # not asked and nothing counted: no evidence, also not of health
        sums = self._sums[signal.name, instance.version]
        sums[0] += new
        sums[1] += (now - old.at).total_seconds() / 3600
        if new:
            self._single.append(self._of(signal, instance.version, float(new), instance=instance.id))

    def _sample(self, signal: Signal, spec: ScrapeSignal, version: str) -> Sample | None:
        place = (signal.name, version)
        if place in self._levels:
            merge = max if spec.across == "max" else sum
            value, exposure = merge(self._levels[place]), 0.0
        elif place in self._sums:
            value, exposure = self._sums[place]
        else:
            return None
        largest = max(abs(value), exposure)
        if largest > LARGEST:
            self._problems.append(
                f"Signal {signal.name} of version {version} adds up to {largest:g} over its instances, which "
                "is beyond 2**53; it gets nothing this time. Compare what they expose."
            )
            return None
        return self._of(signal, version, value, exposure)

    def _of(
        self, signal: Signal, version: str, value: float, exposure: float = 0.0, instance: str = ""
    ) -> Sample:
        now, last = self._ask.now, self._cursor.at
        return Sample(
            time=now,
            region=self._ask.region,
            version=version,
            signal=signal.name,
            value=value,
            exposure=exposure,
            duration_s=0.0 if last is None else (now - last).total_seconds(),
            instance=instance,
        )

    def _fail(self, instance: Instance, error: TransientError) -> None:
        self.failures.append(f"{instance.id} {error}")
        self._problem(instance, error, "")

    def _problem(self, instance: Instance, error: TransientError, more: str) -> None:
        self._problems.append(f"Instance {instance.id} ({instance.version}) {error}.{more}")


def merge(ask: Ask, specs: Specs, cursor: Cursor, answers: Sequence[Answer], version_label: str) -> Reading:
    """One answer per instance of `ask`, in its order, becomes a Reading.

    Raises TransientError when not one instance could be asked and no deployer counted a restart either.
    """
    reader = Reader(ask, specs, cursor, version_label)
    for instance, answer in zip(ask.instances, answers, strict=True):
        reader.take(instance, answer)
    reading = reader.reading()
    if len(reader.failures) == len(ask.instances) and not reading.samples:
        raise TransientError(
            f"{len(reader.failures)} of {len(ask.instances)} instances of {ask.service} in {ask.region} "
            f"gave nothing; the first: {reader.failures[0]}."
        )
    return reading
