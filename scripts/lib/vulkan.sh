# SPDX-License-Identifier: MIT
# shellcheck shell=bash
# A Vulkan driver that SAPIEN can render with, where there is no GPU's. Wants: $venv, $log, common.sh.
# SAPIEN needs more than Mesa 22's software driver offers; Mesa 25's has it.

can_render() {
  run "$venv/bin/python" -c 'from difftori_sim.arm.vulkan import require_vulkan; require_vulkan()'
}

install_vulkan_driver() {
  local why="SAPIEN needs a Vulkan driver to render with" system
  # shellcheck disable=SC1091
  system=$(. /etc/os-release 2>/dev/null && printf '%s %s' "${ID:-}" "${VERSION_CODENAME:-}") || true
  case $system in
    "debian bookworm")
      unpack_from_backports "$why"
      ;;
    debian\ * | ubuntu\ *)
      apt_install "$why" mesa-vulkan-drivers libvulkan1
      ;;
    *)
      fail "$why: install a GPU's driver or Mesa 25's software driver, or go without rendering by DIFFTORI_NO_VULKAN=1"
      ;;
  esac
  can_render ||
    fail "$why, and the newest one that this system offers will not do: install a GPU's driver or Mesa 25, or go without rendering by DIFFTORI_NO_VULKAN=1"
}

# Debian 12's own Mesa is too old, its backports' is not. It is unpacked beside the environment, so
# that the system stays as it is. The mirror and its keys are those of the machine's own sources.
unpack_from_backports() {
  local why=$1 folder=$venv/vulkan
  local apt=$folder/apt package library missing
  rm -rf "$folder"
  mkdir -p "$apt"/sources "$apt"/lists/partial "$apt"/cache/archives/partial "$apt"/unpacked
  backports_sources "$apt/sources"
  local options=(
    -o Dir::Etc::SourceList=/dev/null
    -o "Dir::Etc::SourceParts=$apt/sources"
    -o "Dir::State::Lists=$apt/lists"
    -o "Dir::Cache=$apt/cache"
    -o APT::Sandbox::User=root
  )
  # A source without backports is no reason to stop: another one may have them.
  run apt-get "${options[@]}" update || true
  (cd "$apt" && run apt-get "${options[@]}" download mesa-vulkan-drivers) ||
    fail "$why, and bookworm-backports' mesa-vulkan-drivers cannot be had from this machine's apt sources; the details are at the end of $log"
  package=$(find "$apt" -maxdepth 1 -name 'mesa-vulkan-drivers_*.deb')
  run dpkg-deb -x "$package" "$apt/unpacked"
  library=$(find "$apt/unpacked" -name libvulkan_lvp.so)
  cp "$library" "$folder/"
  cp "$apt/unpacked/usr/share/doc/mesa-vulkan-drivers/copyright" "$folder/"
  rm -rf "$apt"
  missing=$(ldd "$folder/libvulkan_lvp.so" | awk '/not found/ {print $1}')
  if [ -n "$missing" ]; then
    # Debian 12's own, older driver depends on the same libraries.
    apt_install "the Vulkan driver needs $(echo "$missing" | xargs)" mesa-vulkan-drivers
  fi
  cat >"$folder/lvp_icd.json" <<JSON
{"file_format_version": "1.0.0", "ICD": {"api_version": "1.3.0", "library_path": "$folder/libvulkan_lvp.so"}}
JSON
}

# backports_sources FOLDER: the machine's own sources of bookworm, in either format, asking for its backports.
backports_sources() {
  local file
  for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
    [ -r "$file" ] || continue
    sed -n -E 's/^(deb[[:space:]].*[[:space:]])bookworm([[:space:]].*)$/\1bookworm-backports\2/p' "$file" \
      >"$1/$(basename "$file" .list).list"
  done
  for file in /etc/apt/sources.list.d/*.sources; do
    [ -r "$file" ] || continue
    awk 'BEGIN { RS = ""; ORS = "\n\n" }
         /(^|\n)Suites:([^\n]*[ \t])?bookworm([ \t\n]|$)/ {
           sub(/Suites:[^\n]*/, "Suites: bookworm-backports"); print
         }' "$file" >"$1/$(basename "$file")"
  done
}
