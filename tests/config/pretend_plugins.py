"""Plugins that only check options, so that the tests of the configuration need no real one."""

from typing import Any

from pydantic import Field

from rollout.registry import Options


class PretendDeployer:
    pass


class PretendDeployerOptions(Options):
    directory: str
    instances: int = Field(default=1, ge=1)


class PretendSignal(Options):
    metric: str
    form: str = "ratio"

    @property
    def kind(self) -> str:
        return self.form


class PretendSource:
    signal_options = PretendSignal

    def __init__(self, *_: Any) -> None: ...


class PretendSourceOptions(Options):
    url: str = ""
