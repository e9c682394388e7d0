#!/usr/bin/env bash
# Installs what the tests against other people's programs need, if it is
# missing: Debian's packages, and npm packages where a package-lock.json pins
# them. Asks nothing.
set -euo pipefail
cd "$(dirname "$0")"
exec </dev/null

packages=(gcc libc6-dev libcoap3-bin libmodbus-dev make openssl pkg-config podman python3 python3-cryptography runc tcpdump)
command -v node >/dev/null || packages+=(nodejs)
command -v npm >/dev/null || packages+=(npm)

command -v dpkg-query >/dev/null || {
	echo "install.sh needs Debian or Ubuntu; elsewhere install these by hand: ${packages[*]}" >&2
	exit 1
}

missing=()
for package in "${packages[@]}"; do
	status=$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null || true)
	[ "$status" = installed ] || missing+=("$package")
done
if [ ${#missing[@]} -gt 0 ]; then
	as_root=()
	[ "$(id -u)" -eq 0 ] || as_root=(sudo)
	"${as_root[@]}" apt-get update -qq
	"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "${missing[@]}"
fi

# npm leaves its own record of what it installed; it is older than the lock
# only where the lock changed since.
for folder in nodeopcua yamlls ../../docs/openers/javascript; do
	if ! [ "$folder/node_modules/.package-lock.json" -nt "$folder/package-lock.json" ]; then
		(cd "$folder" && npm ci --no-audit --no-fund --ignore-scripts)
	fi
done
