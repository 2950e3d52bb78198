#!/bin/sh
# The environment of the peers, learn2learn 0.2.0 and higher 0.2.1: make_venv.sh [FOLDER].
# It sees the packages of PYTHON's environment (torch, and ours), so that all run on one torch.
set -eu
folder=${1:-build/bench-venvs/meta}
python=${PYTHON:-python3.11}
packages=$("$python" -c 'import site; print(site.getsitepackages()[0])')
"$python" -m venv "$folder"
own=$("$folder/bin/python" -c 'import site; print(site.getsitepackages()[0])')
# addsitedir, so that editable installations there work here too
printf 'import site; site.addsitedir("%s")\n' "$packages" > "$own/torch-and-ours.pth"
pip="$folder/bin/python -m pip install -q --disable-pip-version-check"
# setuptools below 81 still has pkg_resources, which an old gym asks for
$pip cython "setuptools<81" wheel scipy requests tqdm
# --no-deps: their lists of requirements name releases that this torch does not go with
$pip --no-deps gym==0.26.2 gym-notices cloudpickle qpth higher==0.2.1
# the source archive ships C files of an old Cython, which Python 3.11 cannot compile: make them anew
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$folder/bin/python" -m pip download -q --no-deps --no-binary :all: --no-build-isolation \
  learn2learn==0.2.0 -d "$work"
tar -xf "$work/learn2learn-0.2.0.tar.gz" -C "$work"
rm -f "$work"/learn2learn-0.2.0/learn2learn/data/*.c
"$folder/bin/python" -m cython -3 "$work"/learn2learn-0.2.0/learn2learn/data/*.pyx
$pip --no-deps --no-build-isolation "$work/learn2learn-0.2.0"
