"""Programs that the administrator has run around builds: pre-build-hook, post-build-hook, diff-hook.

Blocking, in the thread of the build. Semantics: nix.conf(5) of Nix 2.8.
"""

from __future__ import annotations

import subprocess

from builder.failures import BuildError
from builder.progress import POST_BUILD_HOOK
from builder.sandbox.plan import Bind

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from builder.progress import Progress
    from storefs.config import Config


def run_pre_build_hook(config: Config, drv_path: str, root: str) -> list[Bind]:
    """Ask the pre-build hook for more `sandbox-paths`.

    Raises:
        BuildError: the hook failed, or said something that is no answer.
    """
    hook = config.text("pre-build-hook")
    if not hook:
        return []
    result = subprocess.run([hook, drv_path, root], stdout=subprocess.PIPE, text=True, check=False)
    if result.returncode:
        raise BuildError(f"pre-build hook '{hook}' failed with exit code {result.returncode}")
    binds = []
    reading_paths = False
    for line in result.stdout.splitlines():
        if reading_paths:
            if line:
                path, _, source = line.partition("=")
                binds.append(Bind(source or path, path))
            else:
                reading_paths = False
        elif line in {"extra-sandbox-paths", "extra-chroot-dirs"}:
            reading_paths = True
        else:
            raise BuildError(f"unknown pre-build hook command '{line}'")
    return binds


def run_post_build_hook(config: Config, progress: Progress, drv_path: str, outputs: Sequence[str]) -> None:
    """Run the post-build hook, if there is one, after outputs were registered, wherever they were built.

    Raises:
        BuildError: it failed.
    """
    hook = config.text("post-build-hook")
    if not hook:
        return
    settings = "".join(f"{name} = {value}\n" for name, value in config.overrides().items())
    environment = config.environment() | {
        "DRV_PATH": drv_path,
        "OUT_PATHS": " ".join(outputs),
        "NIX_CONFIG": config.variable("NIX_CONFIG") + "\n" + settings,
    }
    activity = progress.start(POST_BUILD_HOOK, "post-build-hook", f"running post-build-hook '{hook}'", [drv_path])
    try:
        with subprocess.Popen(
            [hook],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as process:
            assert process.stdout is not None
            for line in process.stdout:
                progress.line(activity, line.rstrip("\n"))
    finally:
        progress.stop(activity)
    if process.returncode:
        raise BuildError(f"program '{hook}' failed with exit code {process.returncode}")


def run_diff_hook(
    config: Config, first: str, second: str, drv_path: str, build_dir: str, user: tuple[int, int] | None
) -> str:
    """Run the diff hook on two outputs that should be equal and return what it says; '' where it is switched off.

    Raises:
        BuildError: it could not be run, or failed.
    """
    hook = config.text("diff-hook")
    if not hook or not config.boolean("run-diff-hook"):
        return ""
    uid, gid = user if user is not None else (None, None)
    try:
        result = subprocess.run(
            [hook, first, second, drv_path, build_dir],
            stdout=subprocess.PIPE,
            text=True,
            check=False,
            cwd="/",
            user=uid,
            group=gid,
            extra_groups=None if user is None else [],
        )
    except OSError as error:
        raise BuildError(f"diff hook execution failed: executing '{hook}': {error.strerror}") from error
    if result.returncode:
        raise BuildError(
            f"diff hook execution failed: diff-hook program '{hook}' failed with exit code {result.returncode}"
        )
    return result.stdout.rstrip("\n")
