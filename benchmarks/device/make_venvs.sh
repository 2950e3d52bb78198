#!/bin/sh
# Environments of the peers that cannot live in ours: make_venvs.sh [FOLDER], Python 3.11.
# One that fails is left out and named; the others are made all the same.
set -u
folder=${1:-build/bench-venvs}
python=${PYTHON:-python3.11}
mkdir -p "$folder"

# make NAME PIP-ARGUMENT...: a fresh environment with these packages, or none
make() {
  name=$1
  shift
  rm -rf "${folder:?}/$name"
  if "$python" -m venv "$folder/$name" &&
    "$folder/$name/bin/python" -m pip install -q --no-compile "$@"; then
    return 0
  fi
  rm -rf "${folder:?}/$name"
  echo "$name could not be installed" >&2
  failed=1
}

failed=0
# --no-deps: the wheel asks for torch and h5py, which on-device training does not use
make ort-training --no-deps \
  onnxruntime-training-cpu==1.19.2 onnx==1.17.0 "numpy<2" "protobuf<6" flatbuffers packaging
# tensorflow writes the model, and is not imported when it runs
make litert ai-edge-litert==2.3.0 tensorflow-cpu==2.21.0
make mnn mnn==3.6.1 numpy
# --no-deps: with our own environment's torch and what comes with it
make executorch --no-deps executorch==1.5.1 ruamel.yaml tabulate expecttest parameterized
if [ -d "$folder/executorch" ]; then
  paths='import sysconfig; print(sysconfig.get_paths()["purelib"])'
  "$python" -c "$paths" >"$("$folder/executorch/bin/python" -c "$paths")/ours.pth"
fi
exit "$failed"
