"""The offline judge: recorded samples of past releases through the very same judge and decide.

    samples    reads a samples file, row by row; survey looks once at all of it
    releases   what is known of past releases: who, where, when, and whether it was harmful
    arms       which rows speak for the candidate and which for its baseline
    record     a policy compiled along a recorded release
    intake     rows into samples; memory keeps the history of a release, bounded
    world      the rollout that stands where the recorded release stood, taken further by decide
    trial      one release from its deploy to its end; backtest many, score how they went
    plots      a check in a region as SVG, of the series that tracks kept
    past       samples out of a live source's history, instead of a file

What must not live here: any arithmetic of a test, and any choice of what is wise.
"""
