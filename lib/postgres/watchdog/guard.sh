# The guard: ends a primary whose lease has run out when its supervisor no longer can. It owns one deadline and the right to
# kill the PostgreSQL of one data directory. It must not need anything at the deadline: no fork, no disk, no other program.
#
# Runs in a folder of its own with the FIFOs `in` (orders) and `idle` (never written: waiting on it is a sleep without a
# fork), `report` (what it did, JSON lines). Answers go to stdout. Orders, one line each, TOKEN as in the node's run lock:
#   arm TOKEN SEQ DEADLINE GRACE CORRECTION PID TICKS DATADIR    extend TOKEN DEADLINE
#   disarm TOKEN SEQ                                             ping TOKEN SEQ        quit TOKEN
# An order ends with " ;" and a newline. An extension is answered too: what was not heard is sent again.
# Instants are milliseconds of CLOCK_BOOTTIME: a backlog of orders cannot extend a deadline. PID 0 means: whatever
# postmaster.pid names at the deadline. CORRECTION is CLOCK_BOOTTIME minus /proc/uptime (not 0 in some containers).

trap '' INT HUP TERM QUIT USR1 USR2 PIPE TSTP TTIN TTOU
run_lock=$1
for score in -1000 -999 -900 -500; do
  { echo "$score" >/proc/self/oom_score_adj; } 2>/dev/null && break
done

# Longest wait at once. Armed: a timer does not count the time that the machine is suspended. Idle: to see that nobody is left to serve.
readonly armed_tick=${2:-2000} idle_tick=30000
readonly number='^[0-9]{1,15}$' signed='^-?[0-9]{1,15}$'

exec 3<>./in 4<>./idle
deadline=0 grace=300 correction=0 pm=0 pm_ticks=0 datadir='' seq=0
dir_fd='' exe_fd=''

# now: an upper bound, because /proc/uptime is cut to 10 ms. Should /proc fail (no file handles left), wall time carries it on.
read_clock() {
  local up='' wall=${EPOCHREALTIME/[.,]/}
  { read -r up _ </proc/uptime; } 2>/dev/null
  if [[ $up == *.* ]]; then
    now=$((10#${up/./} * 10 + 10 + correction)) wall_then=$wall now_then=$now
  else
    now=$((now_then + (wall - wall_then) / 1000))
  fi
}

# state, ppid and ticks of a process; fails where it does not exist.
read_stat() {
  local line=''
  { read -r -d '' line <"/proc/$1/stat"; } 2>/dev/null
  [[ $line ]] || return 1
  # shellcheck disable=SC2086
  set -- ${line##*) }
  state=$1 ppid=$2 ticks=${20}
}

alive() { read_stat "$1" && [[ $ticks == "$2" && $state != [ZXx] ]]; }

holder_alive() {
  local pid='' start=''
  { read -r pid start _ <"$run_lock"; } 2>/dev/null
  [[ $pid ]] && alive "$pid" "$start"
}

token_valid() {
  local token=''
  { read -r _ _ token <"$run_lock"; } 2>/dev/null
  [[ $token && $token == "$1" ]]
}

children() {
  kids=()
  { read -r -a kids <"/proc/$pm/task/$pm/children"; } 2>/dev/null && return
  [[ -e /proc/$pm/task/$pm/children ]] && return
  local entry
  for entry in /proc/[0-9]*; do
    read_stat "${entry#/proc/}" && [[ $ppid == "$pm" ]] && kids+=("${entry#/proc/}")
  done
}

# Remembers the children of the postmaster with their start ticks in targets.
note_children() {
  local kid
  for kid in "${kids[@]}"; do
    read_stat "$kid" && [[ $ppid == "$pm" ]] && targets[kid]=$ticks
  done
}

is_ours() { [[ $1/cwd -ef $dir && $1/exe -ef $exe ]]; }

# Backends reparent when the postmaster dies: every process of its program in its data directory counts, unless it was
# started after the postmaster's end (that would be the next life of this node).
note_strays() {
  local entry
  [[ $exe ]] || return
  for entry in /proc/[0-9]*; do
    is_ours "$entry" && read_stat "${entry#/proc/}" && ((ticks <= cutoff)) && targets[${entry#/proc/}]=$ticks
  done
}

# The postmaster that is there now: the one told, or the one that was started in its place since.
find_postmaster() {
  dir=${dir_fd:+/proc/self/fd/$dir_fd} exe=${exe_fd:+/proc/self/fd/$exe_fd}
  dir=${dir:-$datadir}
  ((pm > 0)) && alive "$pm" "$pm_ticks" && return 0
  local pid=''
  { read -r pid <"$dir/postmaster.pid"; } 2>/dev/null
  [[ $pid =~ ^[0-9]+$ && /proc/$pid/cwd -ef $dir ]] && read_stat "$pid" && [[ $state != [ZXx] ]] || return 1
  # A standby as well: it may be about to be promoted. Who starts one on purpose lets this guard go first.
  pm=$pid pm_ticks=$ticks
  open_exe
}

open_exe() {
  [[ $exe_fd ]] && exec {exe_fd}<&-
  { exec {exe_fd}<"/proc/$pm/exe"; } 2>/dev/null || exe_fd=''
  exe=${exe_fd:+/proc/self/fd/$exe_fd}
}

# Sends the signal ("none": only looks) to all targets that are left; those that are gone are forgotten.
sweep() {
  local pid left=0
  for pid in "${!targets[@]}"; do
    if alive "$pid" "${targets[$pid]}"; then
      ((left++))
      [[ $1 == none ]] || kill "-$1" "$pid" 2>/dev/null
    else
      unset "targets[$pid]"
    fi
  done
  remaining=$left
}

pause() { local nothing; read -r -t "$1" -u 4 nothing; }

fire() {
  local began end killed=0 found=0
  declare -A targets=()
  read_clock
  began=$now
  if find_postmaster; then
    found=1
    children
    kill -QUIT "$pm" 2>/dev/null
    targets[$pm]=$pm_ticks
    note_children
  fi
  # Ticks up to which a process counts as the postmaster's: as long as it was seen alive, and the 10 ms that the clock is ahead.
  cutoff=$((began / 10 + 1))
  end=$((found ? began + grace : began))
  sweep none
  while ((remaining > 0 && now < end)); do
    pause 0.01
    sweep none
    read_clock
    [[ ${targets[$pm]} ]] && cutoff=$((now / 10 + 1))
  done
  # A stopped postmaster ignores SIGQUIT, and one that hangs does not pass it on: first those that are known, at once.
  ((remaining > 0)) && killed=1
  ((found)) && alive "$pm" "$pm_ticks" && kill -STOP "$pm" 2>/dev/null
  sweep KILL
  # Then those that were forked since, and strays of a postmaster that died earlier; again until nothing is left.
  while
    if ((found)) && alive "$pm" "$pm_ticks"; then
      children
      note_children
      read_clock
      cutoff=$((now / 10 + 1))
    fi
    note_strays
    sweep KILL
    ((remaining > 0))
  do
    # What hangs in the kernel stays: it is waited for at a gentler pace.
    if ((++killed > 50)); then pause 0.5; else pause 0.01; fi
  done
  read_clock
  # Written only now: a disk that hangs must not hold up the kill.
  local report="{\"event\":\"fired\",\"deadline\":$deadline,\"began\":$began,\"ended\":$now,\"postmaster\":$pm,\"found\":$found,\"killed\":$killed}"
  deadline=0
  echo "fired $seq $report" 2>/dev/null
  { echo "$report" >>./report; } 2>/dev/null
  release
}

release() {
  deadline=0 pm=0 pm_ticks=0
  [[ $dir_fd ]] && exec {dir_fd}<&-
  [[ $exe_fd ]] && exec {exe_fd}<&-
  dir_fd='' exe_fd=''
}

arm() { # SEQ DEADLINE GRACE CORRECTION PID TICKS DATADIR
  if (($5 > 0)) && ! alive "$5" "$6"; then
    echo "refused $1 the postmaster $5 is not running"
    return
  fi
  release
  seq=$1 deadline=$2 grace=$3 correction=$4 pm=$5 pm_ticks=$6 datadir=$7
  { exec {dir_fd}<"$datadir"; } 2>/dev/null || dir_fd=''
  ((pm > 0)) && open_exe
  echo "armed $1"
}

obey() {
  local order=$1 token=$2
  if ! token_valid "$token"; then
    echo "refused ${3:-0} not the holder of the run lock"
    return
  fi
  case $order in
    extend)
      if ((deadline == 0)); then
        echo "refused 0 not armed"
      elif [[ $3 =~ $number ]]; then
        deadline=$3
        echo "extended $3"
      else
        echo "refused 0 not a deadline"
      fi
      ;;
    arm)
      # Checked, because bash evaluates what stands in a number's place.
      if [[ $4 =~ $number && $5 =~ $number && $6 =~ $signed && $7 =~ $number && $8 =~ $number && $9 == /* ]]; then
        arm "$3" "$4" "$5" "$6" "$7" "$8" "$9"
      else
        echo "refused $3 not an order"
      fi
      ;;
    disarm) release; echo "disarmed $3" ;;
    ping) echo "pong $3" ;;
    quit) ((deadline == 0)) && exit 0 ;;
  esac
}

# Takes what has come of an order. A wait may end in the middle of one, or swallow its newline: the part is kept, and the
# mark at its end says that it is whole.
take() { # STATUS PART
  line+=$2
  if (($1 != 0)) && [[ $line != *' ;' ]]; then
    ((${#line} > line_max)) && line=''
    return 1
  fi
  local rest=${line%' ;'} index
  line=''
  words=()
  for ((index = 0; index < 8; index++)); do
    words+=("${rest%% *}")
    [[ $rest == *' '* ]] && rest=${rest#* } || rest=''
  done
  # The data directory may hold spaces.
  words+=("$rest")
}

readonly line_max=4096
line='' words=()
now_then=0 wall_then=0
echo "ready $$"
while :; do
  read_clock
  if ((deadline > 0)); then
    if ((now >= deadline)); then
      fire
      holder_alive || exit 0
      continue
    fi
    wait=$((deadline - now > armed_tick ? armed_tick : deadline - now))
  else
    wait=$idle_tick
  fi
  printf -v wait '%d.%03d' $((wait / 1000)) $((wait % 1000))
  part=''
  IFS= read -r -t "$wait" -u 3 part
  status=$?
  if take "$status" "$part"; then
    [[ ${words[0]} ]] && obey "${words[@]}"
  elif ((deadline == 0)) && ! holder_alive; then
    exit 0
  fi
done
