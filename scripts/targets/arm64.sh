#!/usr/bin/env bash
# Installs what tests/e2e/test_arm64.py needs: scripts/targets/arm64.sh PYTHON
# Debian or Ubuntu on x86-64; as root, or with sudo.
set -euo pipefail
cd "$(dirname "$0")/../.."
python=$1
target=build/targets/aarch64

if ! command -v qemu-aarch64 >/dev/null || ! command -v aarch64-linux-gnu-g++ >/dev/null; then
  if ! command -v apt-get >/dev/null; then
    echo 'arm64: install qemu-user and a g++ for aarch64-linux-gnu' >&2
    exit 1
  fi
  as_root=()
  if [ "$(id -u)" != 0 ]; then as_root=(sudo); fi
  "${as_root[@]}" apt-get update -qq
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get install -y -qq --no-install-recommends g++-aarch64-linux-gnu qemu-user >/dev/null
fi

version=$("$python" -c 'import importlib.metadata as m; print(m.version("onnxruntime"))')
if ! compgen -G "$target/libonnxruntime.so.$version" >/dev/null; then
  rm -rf "$target"
  mkdir -p "$target"
  "$python" -m pip --disable-pip-version-check -q download "onnxruntime==$version" --no-deps \
    --only-binary=:all: --platform manylinux_2_27_aarch64 --platform manylinux_2_28_aarch64 \
    --dest "$target"
  "$python" - "$target" <<'PYTHON'
import pathlib, sys, zipfile

target = pathlib.Path(sys.argv[1])
(wheel,) = target.glob("*.whl")
with zipfile.ZipFile(wheel) as archive:
    (member,) = [n for n in archive.namelist() if "/libonnxruntime.so." in n]
    (target / pathlib.Path(member).name).write_bytes(archive.read(member))
wheel.unlink()
PYTHON
fi
echo "arm64: ready, ONNX Runtime $version"
