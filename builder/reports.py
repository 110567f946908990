"""The texts of commands that build: what will be done, and how it went wrong. Used by every such command."""

from __future__ import annotations

from builder.failures import combined_exit_code
from builder.progress import indented
from storefs import logs
from storefs.errors import StoreError
from storefs.stores.closure import sorted_references_first

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from storefs.api import BuildResult, Missing, Store
    from storefs.formats.store_path import StoreDir

_MIB = 1 << 20


class BuildFailedError(StoreError):
    """At least one target could not be realised."""

    def __init__(self, text: str, exit_code: int) -> None:
        super().__init__(text)
        self.exit_code = exit_code


def require_success(results: Sequence[BuildResult], directory: StoreDir) -> None:
    """Return if everything was realised; otherwise tell what was not, as Nix does.

    Raises:
        BuildFailedError: with the exit status that Nix would end with.
    """
    failed = [result for result in results if not result.ok]
    if not failed:
        return
    code = combined_exit_code([result.exit_code for result in failed])
    if len(failed) == 1 and failed[0].message:
        raise BuildFailedError(indented(failed[0].message), code)
    for message in dict.fromkeys(result.message for result in failed):
        if message:
            logs.error(indented(message))
    listed = ", ".join(f"'{directory.print(path)}'" for path in sorted({result.target.path for result in failed}))
    raise BuildFailedError(f"build of {listed} failed", code)


def missing_lines(missing: Missing, store: Store) -> list[str]:
    """Describe what is to be built and fetched, as `--dry-run` shows it.

    Args:
        missing: what there is to do.
        store: tells which derivation needs which, so that each is listed after what it needs.
    """
    directory = store.directory
    lines = []
    builds, fetches = missing.will_build, missing.will_substitute
    if builds:
        lines.append(
            "this derivation will be built:" if len(builds) == 1 else f"these {len(builds)} derivations will be built:"
        )
        lines += [f"  {directory.print(path)}" for path in sorted_references_first(store, builds)]
    if fetches:
        sizes = f"({missing.download_size / _MIB:.2f} MiB download, {missing.nar_size / _MIB:.2f} MiB unpacked)"
        what = "this path" if len(fetches) == 1 else f"these {len(fetches)} paths"
        lines.append(f"{what} will be fetched {sizes}:")
        lines += [f"  {directory.print(path)}" for path in sorted(fetches)]
    if missing.unknown:
        lines.append("don't know how to build these paths:")
        lines += [f"  {directory.print(path)}" for path in sorted(missing.unknown)]
    return lines
