# systemctl for machines without systemd: the verbs that test scripts use, over one supervisor process per service.
# State lies in /run/services/NAME: `state` (active, inactive, failed, activating), `pid`, `log`.
state=/run/services
folder() { readlink -f "/run/current-system/services/${1%.service}"; }
get() { cat "$state/${1%.service}/state" 2>/dev/null || echo inactive; }
put() { echo "$2" >"$state/$1/state.new" && mv "$state/$1/state.new" "$state/$1/state"; }
supervise() { # name: runs the service until it ends for good
  oneshot= restart= after=
  . "$(folder "$1")/settings"
  while :; do
    "$(folder "$1")/run" >>"$state/$1/log" 2>&1 &
    child=$!
    trap 'trap - TERM; kill $child 2>/dev/null; wait $child; put '"$1"' inactive; exit 0' TERM
    [ "$oneshot" ] || put "$1" active
    wait $child
    code=$?
    if [ "$oneshot" ]; then
      [ $code = 0 ] && put "$1" active || put "$1" failed
      return
    fi
    [ "$restart" ] || { [ $code = 0 ] && put "$1" inactive || put "$1" failed; return; }
    put "$1" activating
    sleep 0.2
  done
}
start() {
  name=${1%.service}
  [ -e "$(folder "$name")/run" ] || { echo "Unit $name.service not found." >&2; return 5; }
  case $(get "$name") in active | activating) return 0 ;; esac
  mkdir -p "$state/$name"
  put "$name" activating
  (
    oneshot= restart= after=
    . "$(folder "$name")/settings"
    for other in $after; do
      until case $(get "$other") in active | failed) true ;; *) false ;; esac; do sleep 0.05; done
    done
    readlink -f "/run/current-system/services/$name" >"$state/$name/generation"
    supervise "$name"
  ) </dev/null >/dev/null 2>&1 &
  echo $! >"$state/$name/pid"
}
stop() {
  name=${1%.service}
  kill "$(cat "$state/$name/pid" 2>/dev/null)" 2>/dev/null
  for _ in 1 2 3 4 5 6 7 8 9 10; do
    case $(get "$name") in inactive | failed) return 0 ;; esac
    sleep 0.1
  done
  put "$name" inactive
}
value= property=ActiveState
verb= names=
for word; do
  case $word in
    --value) value=1 ;;
    --property=* | -p*) property=${word#*=} ;;
    --no-pager | --user | --quiet) ;;
    *) if [ "$verb" ]; then names="$names $word"; else verb=$word; fi ;;
  esac
done
case $verb in
  start) for name in $names; do start "$name" || exit; done ;;
  stop) for name in $names; do stop "$name"; done ;;
  restart) for name in $names; do stop "$name"; start "$name" || exit; done ;;
  is-active) for name in $names; do get "$name"; [ "$(get "$name")" = active ] || exit 3; done ;;
  show)
    for name in $names; do
      if [ "$value" ]; then get "$name"; else echo "Id=${name%.service}.service"; echo "ActiveState=$(get "$name")"; fi
    done ;;
  status) for name in $names; do echo "${name%.service}: $(get "$name")"; tail "$state/${name%.service}/log" 2>/dev/null; done ;;
  list-units) for folder in /run/current-system/services/*; do echo "${folder##*/}.service $(get "${folder##*/}")"; done ;;
  start-all)
    for folder in /run/current-system/services/*; do [ -e "$folder/run" ] && start "${folder##*/}"; done
    mkdir -p "$state" && : >"$state/.started"
    exit 0 ;;
  list-jobs) # those of booting, until they have all been begun; then what begins has the state "activating"
    [ -e "$state/.started" ] && echo "No jobs running." || echo "1 starting" ;;
  poweroff) poweroff ;;
  reboot) reboot ;;
  *) echo "systemctl: unknown verb '$verb'" >&2; exit 1 ;;
esac
