#!/bin/sh
# The guest's end of the driver: runs what comes in on one virtio port and answers on it; a second port carries files.
# A request is one line, `VERB NUMBER BASE64`; an answer is `STATUS BASE64`. Needs a POSIX sh, base64 and timeout.
port() {
  for dir in /sys/class/virtio-ports/*; do
    [ "$(cat "$dir/name" 2>/dev/null)" = "$1" ] && echo "/dev/${dir##*/}" && return
  done
}
out=${VM_AGENT_OUTPUT:-/run/vm-agent.out}
# as the NixOS driver has it, where there is one
shell=$(command -v bash || echo sh)
options='set -eu; (set -o pipefail) 2>/dev/null && set -o pipefail;'
exec 3<>"$(port vmdriver.agent)"
data=$(port vmdriver.data)
run() { # seconds command: runs it, its output in $out
  : >"$out"
  if [ "$1" = 0 ]; then
    "$shell" -c "$options $2" >"$out" 3<&- </dev/null
  else
    timeout "$1" "$shell" -c "$options $2" >"$out" 3<&- </dev/null
  fi
}
until_status() { # wanted(0: success, 1: failure) seconds command
  end=$(($(cut -d. -f1 /proc/uptime) + $2))
  pause=0.02
  while :; do
    left=$((end - $(cut -d. -f1 /proc/uptime)))
    [ "$left" -ge 1 ] || left=1
    if run "$left" "$3"; then [ "$1" = 0 ] && return 0; else s=$?; [ "$1" = 1 ] && return 0; fi
    [ "$(cut -d. -f1 /proc/uptime)" -ge "$end" ] && return "${s:-1}"
    sleep $pause
    case $pause in 0.02) pause=0.05 ;; 0.05) pause=0.1 ;; *) pause=0.2 ;; esac
  done
}
echo "ready" >&3
while read -r verb number payload <&3; do
  text=$(echo "$payload" | base64 -d)
  case $verb in
    run) run "$number" "$text" && s=0 || s=$?
      # busybox's timeout has no status of its own for a command that it ended
      [ "$s" = 143 ] && [ "$number" != 0 ] && s=124 ;;
    start) : >"$out"; "$shell" -c "$options $text" >/dev/console 3<&- </dev/null & s=0 ;;
    interact) : >"$out"; "$shell" -i <>"$data" >&0 2>&1 3<&- && s=0 || s=$?
      echo "[the shell has ended]" >"$data" ;;
    succeed) until_status 0 "$number" "$text" && s=0 || s=$? ;;
    fail) until_status 1 "$number" "$text" && s=0 || s=1 ;;
    receive) : >"$out"; mkdir -p "${text%/*}" && head -c "$number" <"$data" >"$text" && s=0 || s=$? ;;
    size) { wc -c <"$text" >"$out"; } 2>/dev/null && s=0 || s=$? ;;
    send) : >"$out"; cat "$text" >"$data" && s=0 || s=$? ;;
    *) s=127 ;;
  esac
  { printf '%s ' "$s"; base64 "$out" | tr -d '\n'; echo; } >&3
done
