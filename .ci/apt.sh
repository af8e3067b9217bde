# shellcheck shell=sh
# To be read by the scripts beside it, which set $root to a command that runs others as root, such as env.

# how long to wait for another apt
APT_SECONDS=${APT_SECONDS:-600}

# Runs apt-get, and leaves what it says of a failure in $said. It waits for dpkg's lock by itself, but neither for that of
# its lists nor for that of its archives.
apt_get() {
    give_up=$(($(date +%s) + APT_SECONDS))
    until said=$($root LC_ALL=C DEBIAN_FRONTEND=noninteractive \
        apt-get -qq -o "DPkg::Lock::Timeout=$APT_SECONDS" "$@" 2>&1 >/dev/null); do
        case $said in
            *"Could not get lock"* | *"Unable to lock"* | *"Unable to acquire"*) ;;
            *) return 1 ;;
        esac
        [ "$(date +%s)" -lt "$give_up" ] || return 1
        echo "setup: another apt is at work; waiting until it ends" >&2
        sleep 3
    done
}

# Installs packages. The package lists are fetched only if those at hand (none on a fresh image, old ones elsewhere) do
# not do.
apt_install() {
    apt_get install -y --no-install-recommends "$@" && return
    apt_get update && apt_get install -y --no-install-recommends "$@" && return
    echo "$said" >&2
    return 1
}
