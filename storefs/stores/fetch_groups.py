"""How the paths of a closure are cut into groups that are fetched in one thread and registered together.  Pure."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from storefs.formats.path_info import PathInfo

# Paths are registered in groups, because each commit waits for the disk. Larger groups sync less often (measured: eight
# of 128 MB take 0.6 of the time of 32); smaller ones lose less when a download is interrupted.
_GROUP_PATHS = (24, 128)
_GROUP_BYTES = (32 << 20, 128 << 20)


def fetch_groups(infos: Sequence[PathInfo], workers: int) -> list[list[PathInfo]]:
    """Cut a sorted list into groups that are registered together."""
    most_paths = _between(len(infos) // workers, _GROUP_PATHS)
    most_bytes = _between(sum(info.nar_size for info in infos) // workers, _GROUP_BYTES)
    groups: list[list[PathInfo]] = []
    size = 0
    for info in infos:
        if not groups or len(groups[-1]) >= most_paths or size + info.nar_size > most_bytes:
            groups.append([])
            size = 0
        groups[-1].append(info)
        size += info.nar_size
    return groups


def _between(value: int, limits: tuple[int, int]) -> int:
    return max(limits[0], min(value, limits[1]))
