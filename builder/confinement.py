"""Decides how a derivation is confined: what its builder sees of the host and the store, and as whom it runs.

Turns settings, attributes and inputs into a plan; `sandbox.compose` puts the steps in order. Used by
`derivation_builder`. Blocking: it may mount the store and run the pre-build hook.
"""

from __future__ import annotations

import os

from builder.failures import BuildError
from builder.sandbox.compose import SHELLS, Surroundings, open_plan, sandbox_plan
from builder.sandbox.plan import Bind
from storefs.errors import EnvironmentUnfitError
from storefs.stores.closure import closure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection

    from builder.environment import BuildAttributes, BuildEnvironment
    from builder.machine import LocalMachine
    from builder.sandbox.plan import Plan
    from builder.sandbox.spawn import Spawner
    from builder.users import BuildUser
    from storefs.config import Config
    from storefs.formats.derivation import Derivation
    from storefs.formats.store_path import StorePath

_HOMELESS = "/homeless-shelter"

BUILTINS = {
    "builtin:fetchurl": ("builder.fetchurl", "fetch"),
    "builtin:buildenv": ("builder.link_farm", "build"),
    "builtin:unpack-channel": ("builder.unpack_channel", "unpack"),
}


def require_fit_machine(config: Config, derivation: Derivation, attributes: BuildAttributes, shown: str) -> None:
    """Refuse what this machine can't build: another system, a feature it lacks, an unknown builtin.

    Raises:
        BuildError: with both sides of the mismatch.
    """
    system = config.text("system")
    platforms = {system, *config.words("extra-platforms")}
    features = set(config.words("system-features"))
    required = attributes.required_features()
    if (derivation.system not in platforms and not derivation.is_builtin) or not features.issuperset(required):
        raise BuildError(
            f"a '{derivation.system}' with features {{{', '.join(required)}}} is required to build "
            f"'{shown}', but I am a '{system}' with features {{{', '.join(sorted(features))}}}"
        )
    if derivation.is_builtin and derivation.builder not in BUILTINS:
        raise BuildError(f"unsupported builtin builder '{derivation.builder.removeprefix('builtin:')}'")


def is_sandboxed(
    config: Config, derivation: Derivation, attributes: BuildAttributes, *, networked: bool, shown: str
) -> bool:
    """Whether a derivation is built in a sandbox.

    Args:
        config: the setting `sandbox`.
        derivation, attributes: what is built.
        networked: whether it has a fixed output.
        shown: the derivation in messages.

    Raises:
        BuildError: it refuses a sandbox that is demanded.
    """
    mode = config.text("sandbox")
    unwilling = attributes.boolean("__noChroot")
    if mode == "true" and unwilling:
        raise BuildError(f"derivation '{shown}' has '__noChroot' set, but that's not allowed when 'sandbox' is 'true'")
    if config.root:
        return True  # the store is not where its paths say, outside of a sandbox
    if mode == "relaxed":
        return not networked and not unwilling
    return mode == "true"


class Confinement:
    """How one build is confined.

    Args:
        machine: this machine.
        derivation: what is built.
        shown: the derivation in messages.
        user: as whom.
        environment: what the builder gets.
        scratch: the scratch directory of this build.
        host_build_dir, build_dir: its build directory, on the host and as the builder sees it.
        inputs: the closure that it may see.
        hidden: paths that it must not see, because it makes them.
        networked: whether it may use the network.
        kvm: whether it may use /dev/kvm.
    """

    def __init__(
        self,
        machine: LocalMachine,
        derivation: Derivation,
        shown: str,
        user: BuildUser,
        environment: BuildEnvironment,
        *,
        scratch: str,
        host_build_dir: str,
        build_dir: str,
        inputs: Collection[StorePath],
        hidden: Collection[StorePath],
        networked: bool,
        kvm: bool,
    ) -> None:
        self._machine = machine
        self._config = machine.config
        self._store = machine.store
        self._directory = machine.store.directory
        self._derivation = derivation
        self._shown = shown
        self._user = user
        self._environment = environment
        self._scratch = scratch
        self._host_build_dir = host_build_dir
        self._build_dir = build_dir
        self._inputs = inputs
        self._hidden = hidden
        self._networked = networked
        self._kvm = kvm

    def plan(self, control_group: str, *, sandboxed: bool) -> tuple[Spawner, Plan, str]:
        """Return who starts the builder, how, and the folder of the host in which its outputs will be.

        Args:
            control_group: the directory of the one for this build, '' for none.
            sandboxed: in the sandbox, or with sight of the host.

        Raises:
            StoreError: this machine can't confine it so.
        """
        machine, config, user = self._machine, self._config, self._user
        if not machine.privileged and not machine.user_namespaces:
            raise EnvironmentUnfitError(
                "cannot build without root because user namespaces are not enabled; "
                "check /proc/sys/user/max_user_namespaces"
            )
        if not sandboxed and os.path.exists(_HOMELESS):
            raise EnvironmentUnfitError(
                f"home directory '{_HOMELESS}' exists; please remove it to assure purity of builds without sandboxing"
            )
        binds, inputs = self._split_binds(self._sandbox_paths()) if sandboxed else ([], set())
        if sandboxed:
            inputs = inputs.union(self._inputs).difference(self._hidden)
        spawner, mounted = machine.spawner(with_store=bool(inputs) or not sandboxed)
        if sandboxed and config.text("pre-build-hook"):
            from builder.hooks import run_pre_build_hook  # noqa: PLC0415  few have one

            binds += run_pre_build_hook(config, self._shown, f"{self._scratch}/root")
        around = Surroundings(
            scratch=self._scratch,
            host_build_dir=self._host_build_dir,
            build_dir=self._build_dir,
            store_dir=config.store_dir,
            mounted_store=mounted,
            inputs=sorted(path.base_name for path in inputs),
            uid=user.uid,
            gid=user.gid,
            groups=user.groups,
            foreign=user.foreign,
            privileged=machine.privileged,
            user_namespaces=machine.user_namespaces,
            networked=self._networked,
            system=self._derivation.system,
            binds=[self._real(bind, mounted) for bind in binds],
            kvm=self._kvm,
            control_group=control_group,
            shm_size=config.text("sandbox-dev-shm-size"),
            filter_syscalls=config.boolean("filter-syscalls"),
            new_privileges=config.boolean("allow-new-privileges"),
            impersonate_26=config.boolean("impersonate-linux-26"),
        )
        folder = f"{self._scratch}/store"
        if user.foreign:
            # The builder adds to the store directory and removes nothing from it.
            os.chown(folder, 0, user.gid)
            os.chmod(folder, 0o1775)
        compose = sandbox_plan if sandboxed else open_plan
        return spawner, compose(around, self._derivation.builder, self._environment, self._builtin()), folder

    def _builtin(self) -> tuple[str, str, str] | None:
        """The function of ours that runs in the place of a program, and what it is told."""
        if not self._derivation.is_builtin:
            return None
        import json  # noqa: PLC0415  only for these

        name = self._derivation.builder
        told: dict[str, object] = {"netrc": "", "hashed-mirrors": self._config.words("hashed-mirrors")}
        if name == "builtin:fetchurl":
            try:
                with open(self._config.text("netrc-file"), encoding="utf-8") as file:
                    told["netrc"] = file.read()
            except OSError:
                pass
        return (*BUILTINS[name], json.dumps(told))

    def _sandbox_paths(self) -> list[Bind]:
        binds = {}
        for word in self._config.words("sandbox-paths"):
            optional = word.endswith("?")
            inside, _, source = word.removesuffix("?").partition("=")
            binds[inside] = Bind(source or inside, inside, optional)
        if "/bin/sh" not in binds:
            shell = next((path for path in SHELLS if os.path.exists(path)), None)
            if shell is not None:
                binds["/bin/sh"] = Bind(shell, "/bin/sh")
        return list(binds.values())

    def _split_binds(self, binds: list[Bind]) -> tuple[list[Bind], set[StorePath]]:
        """Return the binds that are not whole store objects, and the closure of everything bound from the store."""
        hosts, roots = [], set()
        for bind in binds:
            if self._directory.is_in_store(bind.source):
                path, _ = self._directory.to_store_path(bind.source)
                if self._store.is_valid(path):
                    roots.add(path)
                if bind.source == bind.path:
                    continue
            hosts.append(bind)
        return hosts, closure(self._store, roots)

    def _real(self, bind: Bind, mounted: str) -> Bind:
        """Where the host has what a bind names by its store path."""
        if not self._directory.is_in_store(bind.source):
            return bind
        path, rest = self._directory.to_store_path(bind.source)
        return Bind(f"{mounted}/{path.base_name}{rest}", bind.path, bind.optional, bind.read_only)
