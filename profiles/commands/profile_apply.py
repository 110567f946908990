"""`verglas profile apply`: make the profile what its declaration says."""

from __future__ import annotations

from profiles.live import is_live
from profiles.profile_options import JSON, PLACE, Place, place_of
from storefs.options import Command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection

    from profiles.resolve import Everything
    from storefs.config import Config
    from storefs.options import Invocation

COMMAND = Command(
    "verglas profile apply",
    "Build what profile.yaml declares and switch to it",
    options=(*PLACE, JSON),
    description="Everything is built or downloaded first; then one rename makes the new generation live. A failure "
    "leaves the old one untouched. Sources are those of the lock file; 'verglas profile upgrade' takes newer ones.",
    examples=(("verglas profile apply", "make the profile what ~/.config/verglas/profile.yaml says"),),
)


def run(invocation: Invocation) -> int:
    """Carry out the command."""
    place = place_of(invocation)
    return apply(place, invocation.config, as_json=invocation.flag("--json"))


def apply(
    place: Place,
    config: Config,
    *,
    as_json: bool = False,
    text: bytes | None = None,
    upgrade: Collection[str] | Everything = (),
) -> int:
    """Apply a declaration and print what changed; `text` also becomes the file's content, if all goes well."""
    if text is None and not upgrade:
        try:
            with open(place.manifest, "rb") as file, open(place.lock, "rb") as lock:
                unchanged = is_live(place.profile, file.read(), lock.read(), config.text("system"))
        except FileNotFoundError:
            unchanged = False
        if unchanged:
            return _report(place, None, None, as_json)

    from profiles.flow import compare_generations, finish, join, prepare, realise
    from profiles.live import live_generation
    from storefs.durable import replace_file

    before = live_generation(place.profile)
    prepared = prepare(place, config, text=text, upgrade=upgrade)
    realise(prepared)
    environment = join(prepared)
    # Only now: a file that could not be applied, because packages conflict say, stays as it was.
    if text is not None:
        replace_file(place.manifest, text)
    generation = finish(prepared, environment)
    if before is not None and before.number == generation.number:
        return _report(place, None, None, as_json)
    return _report(place, generation.number, compare_generations(prepared.session.store, before, generation), as_json)


def _report(place: Place, number: int | None, diff: object, as_json: bool) -> int:
    if as_json:
        import json

        from profiles.closure_diff import ClosureDiff, diff_as_json

        value: dict[str, object] = {"profile": place.profile, "changed": number is not None}
        if isinstance(diff, ClosureDiff):
            value |= {"generation": number, **diff_as_json(diff)}
        print(json.dumps(value))
    elif number is None:
        print("nothing to do: the profile is what is declared")
    else:
        import sys

        from profiles.closure_diff import ClosureDiff, render_diff

        assert isinstance(diff, ClosureDiff)
        sys.stdout.write(render_diff(diff, sys.stdout.isatty()))
        print(f"generation {number} is live")
    return 0
