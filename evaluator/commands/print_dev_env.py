"""`verglas print-dev-env`: shell code, or JSON, that recreates the environment a package is built in."""

from __future__ import annotations

from evaluator.commands.develop import enter
from storefs.installable_options import EVALUATION
from storefs.options import Command, Option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from storefs.options import Invocation

COMMAND = Command(
    "verglas print-dev-env",
    "Print shell code that recreates the build environment of a package",
    operands="[ATTRIBUTE]",
    options=(
        Option("--file", "-f", takes=("FILE",), help="the expressions; shell.nix or default.nix by default"),
        Option("--expr", takes=("EXPR",), help="an expression instead of a file"),
        Option("--json", help="print variables and functions as JSON instead"),
        *EVALUATION,
    ),
    description="""
The environment is that of `nix-shell --pure`, after the package's setup script: exported variables and others, arrays,
and functions. In JSON each variable has a `type`: exported, var, array, associative or unknown.
""",
    examples=(
        (". <(verglas print-dev-env -f default.nix hello)", "have hello's environment in this very shell (bash)"),
    ),
)

# Runs in the shell itself, since only bash knows its arrays. What belongs to a shell and not to a package is left out.
_WALK = r"""
__names() {
    local name
    for name in $(compgen -v); do
        case $name in
        _ | __* | BASH* | COMP_WORDBREAKS | DIRSTACK | EPOCH* | EUID | FUNCNAME | GROUPS | HISTCMD | HOSTNAME | \
        LINENO | OLDPWD | OPT* | PIPESTATUS | PPID | PWD | RANDOM | SECONDS | SHELLOPTS | SHLVL | SRANDOM | UID) ;;
        *) printf '%s\n' "$name" ;;
        esac
    done
}
__functions() {
    compgen -A function | while read -r name; do
        case $name in __* | _nix_shell*) ;; *) printf '%s\n' "$name" ;; esac
    done
}
"""

_SHELL = (
    _WALK
    + r"""
for __name in $(__names); do
    # Outside of functions `declare` makes global variables; -n and -r could not be sourced twice.
    __text=$(declare -p "$__name" 2>/dev/null) || continue
    case ${__text%%=*} in 'declare -'*[nr]*' '*) ;; *) printf '%s\n' "$__text" ;; esac
done
for __name in $(__functions); do declare -f "$__name"; done
"""
)

_JSON = (
    _WALK
    + r"""
__quote() {
    local text=$1
    text=${text//\\/\\\\}
    text=${text//\"/\\\"}
    text=${text//$'\n'/\\n}
    text=${text//$'\r'/\\r}
    text=${text//$'\t'/\\t}
    printf '"%s"' "$text"
}
__value() {
    local flags=$(declare -p "$1" 2>/dev/null)
    local -n variable=$1
    flags=${flags#declare -}
    local item comma=
    case ${flags%% *} in
    *a*)
        printf '{"type":"array","value":['
        for item in "${variable[@]}"; do printf '%s' "$comma"; __quote "$item"; comma=,; done
        printf ']}' ;;
    *A*)
        printf '{"type":"associative","value":{'
        for item in "${!variable[@]}"; do
            printf '%s' "$comma"; __quote "$item"; printf ':'; __quote "${variable[$item]}"; comma=,
        done
        printf '}}' ;;
    *[nir]*) printf '{"type":"unknown"}' ;;
    *x*) printf '{"type":"exported","value":'; __quote "$variable"; printf '}' ;;
    *) printf '{"type":"var","value":'; __quote "$variable"; printf '}' ;;
    esac
}
__comma=
printf '{"bashFunctions":{'
for __name in $(__functions); do
    __text=$(declare -f "$__name")
    __text=${__text#*\{}
    printf '%s' "$__comma"; __quote "$__name"; printf ':'; __quote "${__text%\}*}"; __comma=,
done
__comma=
printf '},"variables":{'
for __name in $(__names); do
    printf '%s' "$__comma"; __quote "$__name"; printf ':'; __value "$__name"; __comma=,
done
printf '}}\n'
"""
)


def run(invocation: Invocation) -> int:
    """Carry out the command; does not return."""
    return enter(invocation, ["--pure", "--run", _JSON if invocation.flag("--json") else _SHELL])
