# SPDX-License-Identifier: MIT
# shellcheck shell=bash
# What the steps of scripts/setup share. Wants: $log (file), $steps (how many steps there are).

step_number=0
step_name="starting"
worker=""

# step NAME: announce the next step in one line.
step() {
  step_number=$((step_number + 1))
  step_name=$1
  printf 'setup [%d/%d] %s\n' "$step_number" "$steps" "$step_name"
  printf '\n== %s\n' "$step_name" >>"$log"
}

# fail SENTENCE: the one thing that is said when something cannot be had.
fail() {
  printf 'setup: %s\n' "$1" >&2
  trap - ERR
  exit 1
}

# Anything that nobody foresaw still ends in one sentence.
on_error() { fail "'$step_name' did not succeed; the details are at the end of $log"; }

on_interrupt() {
  [ -z "$worker" ] || kill "$worker" 2>/dev/null || true
  fail "interrupted; the next run goes on from here"
}

# run COMMAND...: its output goes to the log, its last line and the seconds so far to the terminal.
run() {
  printf '$ %s\n' "$*" >>"$log"
  "$@" >>"$log" 2>&1 </dev/null &
  worker=$!
  local began=$SECONDS told=0 code=0
  while kill -0 "$worker" 2>/dev/null; do
    sleep 0.2
    local seconds=$((SECONDS - began))
    if [ -t 1 ]; then
      printf '\r\033[K  %3d s  %s' "$seconds" "$(last_line)"
    elif [ $((seconds - told)) -ge 20 ]; then
      told=$seconds
      printf '  %3d s  %s\n' "$seconds" "$(last_line)"
    fi
  done
  wait "$worker" || code=$?
  worker=""
  if [ -t 1 ]; then printf '\r\033[K'; fi
  return "$code"
}

last_line() { tail -n 1 "$log" | tr -d '\r' | cut -c 1-70; }

# apt_install WHY PACKAGE...: the packages are installed, or one sentence says how.
apt_install() {
  local why=$1 apt=()
  shift
  command -v apt-get >/dev/null ||
    fail "$why: install what Debian calls '$*' with this system's package manager, then run this again"
  if [ "$(id -u)" = 0 ]; then
    apt=(env DEBIAN_FRONTEND=noninteractive apt-get)
  elif sudo -n true 2>/dev/null; then
    apt=(sudo -n DEBIAN_FRONTEND=noninteractive apt-get)
  else
    fail "$why: run 'sudo apt-get install $*', then run this again"
  fi
  # The lists may be empty or stale: fetch them only when the packages cannot be had without.
  run "${apt[@]}" install -y --no-install-recommends "$@" && return
  run "${apt[@]}" update || true
  run "${apt[@]}" install -y --no-install-recommends "$@" ||
    fail "$why, and 'apt-get install $*' did not succeed; the details are at the end of $log"
}
