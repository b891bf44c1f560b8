"""The stories in which controllers die. Every part of one may be told again after a kill.

People and pipelines look before they ask: who got no answer looks again, and asks again where it is needed.
"""

from datetime import datetime, timedelta

from rollout.core.model import Doubt, IntentKind, Kind, Outcome, Phase, RegionPhase
from rollout.core.signals import Sample
from rollout.ports import Case, Keep, Observed
from tests.crash.asking import ask_once, give_token
from tests.crash.life import REGIONS, Life, Story
from tests.crash.outside import Forgetful
from tests.scenarios.world import ADMIN, DANA, DEPLOYER, ERIN, HEALTHY, Health

SHORT = {
    "steps": [{"set_weight": 75}, {"bake": "3s"}],
    "stages": [{"regions": ["R3"]}, {"regions": ["R1"]}],
    "judging": {"interval": "1s", "block": "1s", "warmup": "1s", "max_age": "5s", "min_requests": 50},
    "guards": {"success": {"below": 50, "for": "2s"}},
    "watch": "4s",
    "recovery": {"stalled_after": "10s", "check_every": "1s", "within": "60s"},
}
LONG_BAKE = {**SHORT, "steps": [{"set_weight": 75}, {"bake": "60s"}]}
ASKS = {"approval": {"min": 2, "from": ["oncall"], "within": "60s"}}
BROKEN: Health = {"errors": (45.0, 50.0), "restarts": HEALTHY["restarts"]}
AWAY_S, HELD_S = 8, 3


# --------------------------------------------------------------------------- given


async def known_good(life: Life) -> None:
    """Both regions run 1.0.0, and a person said that it is good. In R3 some work is stalled."""
    await life.install()
    await life.commands.adopt("mail", ADMIN, "it serves well")
    life.plugins.fake_deployer("R3").stall("mail", {"send-1": 40.0, "send-2": 50.0})


async def not_adopted(life: Life) -> None:
    """Both regions run 1.0.0, nobody has said that it is good, and a pipeline has a token."""
    await life.install()
    await give_token(life)


async def slow_targets(life: Life) -> None:
    """Orders take long, and some answers are lost."""
    await known_good(life)
    for name in REGIONS:
        target = life.plugins.fake_deployer(name)
        target.slow("deploy", 2)
        target.lose_answer(Kind.DEPLOY)
        target.lose_answer(Kind.RESTORE)


async def two_hours(life: Life) -> None:
    """Samples of two hours, of which few are kept as they came."""
    await known_good(life)
    begin = life.clock.now() - timedelta(hours=2)
    for name in REGIONS:
        found = [_sample(begin + timedelta(seconds=60 * n), name, n) for n in range(1, 119)]
        await life.store.save_reading(Observed(service="mail", region=name), found, None)


def _sample(end: datetime, region: str, number: int) -> Sample:
    return Sample(
        time=end,
        region=region,
        version="1.0.0",
        signal="errors",
        value=float(number % 7),
        exposure=100.0 + number,
        duration_s=60.0,
    )


async def put_back(life: Life) -> None:
    """A rollout passed everywhere after the backup was taken from which the database comes now."""
    await known_good(life)
    rollout_id = await life.start("1.1.0")
    await life.until_region(rollout_id, "R3", RegionPhase.DEPLOYING)
    life.close()
    life.outside.save()
    life.ground.remember()
    while not at_rest(await life.case(rollout_id)):
        await life.tick()
    life.close()
    life.outside.save()
    kept = {file.name: file.read_bytes() for file in life.ground.directory.iterdir()}
    life.ground.put_back()
    for name in ("outside", "newest-event"):
        (life.ground.directory / name).write_bytes(kept[name])


# --------------------------------------------------------------------------- told


def at_rest(*cases: Case) -> bool:
    """Whether nothing is owed, and nothing that was decided is still to be done."""
    return all(
        case.rollout.next_due_at is None and not any(record.open for record in case.actions) for case in cases
    )


async def started(life: Life, version: str = "1.1.0", number: int = 0) -> Case:
    """The rollout of this number, which a pipeline asks for while there is none."""
    if len(await life.cases()) <= number:
        await life.start(version)
    return (await life.cases())[number]


def stands(case: Case, region: str, phase: RegionPhase) -> bool:
    return case.rollout.region(region).phase is phase


async def good(life: Life) -> bool:
    """A release passes, and its watch ends."""
    case = await started(life)
    return case.rollout.phase is Phase.SUCCEEDED and at_rest(case)


async def bad_at_once(life: Life) -> bool:
    """A release is harmful in its first region; work that it left behind is resumed."""
    life.given_harm("R3", "1.1.0", BROKEN)
    case = await started(life)
    return case.rollout.phase is Phase.ROLLED_BACK and at_rest(case)


async def bad_later(life: Life) -> bool:
    """A release turns out harmful in its second region, and both go back."""
    case = await started(life)
    if stands(case, "R1", RegionPhase.BAKING):
        life.given_harm("R1", "1.1.0", BROKEN)
    return case.rollout.phase is Phase.ROLLED_BACK and at_rest(case)


async def bad_in_the_watch(life: Life) -> bool:
    """A release has passed everywhere and turns out harmful in its watch."""
    case = await started(life)
    if case.rollout.phase is Phase.SUCCEEDED:
        life.given_harm("R1", "1.1.0", BROKEN)
    return case.rollout.phase is Phase.ROLLED_BACK and at_rest(case)


async def approved(life: Life) -> bool:
    """Two people let it go on to its second region."""
    case = await started(life)
    asked = case.rollout.approval
    if case.rollout.phase is Phase.AWAITING_APPROVAL and asked is not None:
        given = {intent.actor for intent in case.intents} | {answer.by for answer in asked.decisions}
        for actor in (each for each in (DANA, ERIN) if each.name not in given):
            await life.commands.decide_approval(case.rollout.id, actor, IntentKind.APPROVE, "looks good")
    return case.rollout.phase is Phase.SUCCEEDED and at_rest(case)


async def gated(life: Life) -> bool:
    """R3 passes its gate, R1 fails it, and everything goes back."""
    case = await started(life)
    gate = case.rollout.gate
    if gate and not case.intents and gate.stage not in {each.stage for each in case.rollout.gates}:
        status = "passed" if gate.stage == 0 else "failed"
        region = case.plan.stages[gate.stage].regions[0]
        await life.commands.report_gate(case.rollout.id, DEPLOYER, "smoke", status, region=region)
    return case.rollout.phase is Phase.ROLLED_BACK and at_rest(case)


async def held(life: Life) -> bool:
    """A person holds it in its first bake, and lets it go on a little later."""
    case = await started(life)
    rollout = case.rollout
    if stands(case, "R3", RegionPhase.BAKING) and not (case.intents or rollout.hold or rollout.resumed_at):
        await life.commands.hold(rollout.id, DANA, "looking at a trace")
    elif (
        rollout.hold
        and not case.intents
        and life.clock.now() >= rollout.hold.since + timedelta(seconds=HELD_S)
    ):
        await life.commands.resume(rollout.id, DANA, "it was nothing")
    return rollout.phase is Phase.SUCCEEDED and at_rest(case)


async def promoted(life: Life) -> bool:
    """A person ends both bakes early; the release earns its known good in its watch."""
    case = await started(life)
    for region in case.rollout.regions:
        if region.phase is RegionPhase.BAKING and not region.skipped_by and not case.intents:
            await life.commands.promote(case.rollout.id, DANA, "urgent", region=region.region)
    return case.rollout.outcome is Outcome.FAST_PROMOTED and at_rest(case)


async def ended_by_people(life: Life) -> bool:
    """One rollout is canceled before it has touched anything, the next rolled back in its second region."""
    first = await started(life)
    if not (first.rollout.finished or first.intents):
        await life.commands.cancel(first.rollout.id, DEPLOYER, "wrong version")
    if not first.rollout.finished:
        return False
    second = await started(life, "1.2.0", 1)
    if stands(second, "R1", RegionPhase.BAKING) and not second.intents:
        await life.commands.rollback(second.rollout.id, DANA, "users complain")
    return second.rollout.phase is Phase.ROLLED_BACK and at_rest(first, second)


async def superseded(life: Life) -> bool:
    """A newer release takes the place of one that bakes."""
    first = await started(life)
    if not (stands(first, "R3", RegionPhase.BAKING) or first.rollout.ending or first.rollout.finished):
        return False
    second = await started(life, "1.2.0", 1)
    return second.rollout.phase is Phase.SUCCEEDED and at_rest(first, second)


async def cut_off(life: Life) -> bool:
    """A region cannot be reached while it should go back, and can again later."""
    case = await started(life)
    if stands(case, "R1", RegionPhase.BAKING):
        life.given_harm("R1", "1.1.0", BROKEN)
    decided = case.rollout.decided_at
    back = decided is None or life.clock.now() >= decided + timedelta(seconds=AWAY_S)
    life.plugins.fake_deployer("R3").unreachable = not back
    return case.rollout.phase is Phase.ROLLED_BACK and at_rest(case)


async def observed(life: Life) -> bool:
    """Somebody else deploys it; it turns out harmful in its second region, and nothing is touched."""
    life.given_harm("R1", "1.1.0", BROKEN)
    case = await started(life)
    for region in case.rollout.regions:
        if region.phase is RegionPhase.DEPLOYING:
            target = life.plugins.fake_deployer(region.region)
            target._arrange("mail", ["1.1.0"] * 2 + ["1.0.0"] * 2)
    return case.rollout.outcome is Outcome.WOULD_ROLL_BACK and at_rest(case)


async def asked_by_key(life: Life) -> bool:
    """A pipeline adopts and starts over HTTP, and repeats each request until it is answered."""
    for name, path, body in (
        ("adopt-1", "/v1/services/mail/adopt", {"reason": "it serves well"}),
        ("start-1", "/v1/rollouts", {"service": "mail", "version": "1.1.0"}),
    ):
        if name not in life.outside.state.said and not await ask_once(life, name, path, body):
            return False
    (case,) = await life.cases()
    return case.rollout.phase is Phase.SUCCEEDED and at_rest(case)


async def forgotten(life: Life) -> bool:
    """Samples become history, and those that are old go, while a release passes."""
    return await good(life)


async def doubted(life: Life) -> bool:
    """The database is older than its regions: a person ends what it began, adopts what runs, and releases."""
    first = await started(life)
    regions = await life.store.service_regions("mail")
    doubts = [known.doubt for known in regions if known.doubt]
    if not first.rollout.finished:
        if any(_found(doubt) for doubt in doubts) and not first.intents:
            await life.commands.cancel(first.rollout.id, ADMIN, "it had gone on")
        return False
    if doubts:
        return await _adopt_again(life)
    second = await started(life, "1.2.0", 1)
    return second.rollout.phase is Phase.SUCCEEDED and at_rest(first, second)


def _found(doubt: Doubt | None) -> bool:
    return doubt is not None and bool(doubt.found)


async def _adopt_again(life: Life) -> bool:
    for known in await life.store.service_regions("mail"):
        if known.doubt and len(known.running) == 1:
            await life.commands.adopt("mail", ADMIN, "it serves well", [known.region])
    return False


STORIES = {
    "a good release": Story(tell=good, given=known_good, policy=SHORT),
    "harm in the first region": Story(tell=bad_at_once, given=known_good, policy=SHORT),
    "harm in the second region": Story(tell=bad_later, given=known_good, policy=SHORT),
    "harm in the watch": Story(tell=bad_in_the_watch, given=known_good, policy={**SHORT, "watch": "12s"}),
    "an approval": Story(
        tell=approved,
        given=known_good,
        policy={
            **SHORT,
            "stages": [{"regions": ["R3"], "steps": [*SHORT["steps"], ASKS]}, {"regions": ["R1"]}],
        },
    ),
    "a gate of a pipeline": Story(
        tell=gated, given=known_good, policy={**SHORT, "steps": [*SHORT["steps"], {"gate": "smoke"}]}
    ),
    "hold and resume": Story(tell=held, given=known_good, policy=SHORT),
    "promoted by a person": Story(tell=promoted, given=known_good, policy=LONG_BAKE),
    "canceled, and rolled back by a person": Story(tell=ended_by_people, given=known_good, policy=SHORT),
    "a newer release supersedes": Story(
        tell=superseded, given=known_good, policy={**SHORT, "concurrency": "supersede"}
    ),
    "a region cut off on its way back": Story(tell=cut_off, given=known_good, policy=SHORT),
    "slow targets that lose answers": Story(
        tell=bad_later, given=slow_targets, policy=SHORT, loses_answers=True
    ),
    "targets that know no keys": Story(tell=bad_later, given=known_good, policy=SHORT, target=Forgetful),
    "only observed": Story(tell=observed, given=known_good, policy={**SHORT, "mode": "observe"}),
    "adopted and started by key": Story(
        tell=asked_by_key,
        given=not_adopted,
        policy=SHORT,
        late_s=90,  # a key whose request died before its effect is taken over after a minute, twice
    ),
    "samples become history": Story(tell=forgotten, given=two_hours, policy=SHORT, keep=Keep(raw_s=3600.0)),
    "a database that was put back": Story(tell=doubted, given=put_back, policy=SHORT),
    "another replica takes over": Story(
        tell=bad_later, given=known_good, policy=SHORT, heir="two", late_s=45
    ),
}
