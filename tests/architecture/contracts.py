"""A contract of import-linter: a library is imported in its home and nowhere else."""

from grimp import ImportGraph
from importlinter import Contract, ContractCheck, fields, output


class OneHome(Contract):
    """`libraries` may be imported by `homes`, which are modules or packages, and by nobody else."""

    libraries = fields.SetField(subfield=fields.StringField())
    homes = fields.SetField(subfield=fields.StringField())

    def check(self, graph: ImportGraph, verbose: bool) -> ContractCheck:
        """Broken when somebody outside the homes imports one of the libraries."""
        found = [
            f"{importer} imports {module}"
            for module in sorted(graph.modules)
            if _within(module, self.libraries)
            for importer in sorted(graph.find_modules_that_directly_import(module))
            if not _within(importer, self.homes)
        ]
        return ContractCheck(kept=not found, metadata={"found": found})

    def render_broken_contract(self, check: ContractCheck) -> None:
        """One line for each import that is out of place."""
        for line in check.metadata["found"]:
            output.print_error(f"{line}; its home is {', '.join(sorted(self.homes))}.")  # type: ignore[arg-type]


def _within(module: str, packages: object) -> bool:
    return any(module == name or module.startswith(f"{name}.") for name in packages)  # type: ignore[attr-defined]
