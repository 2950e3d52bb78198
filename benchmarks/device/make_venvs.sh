#!/bin/sh
# Environments of the peers that cannot live in ours: make_venvs.sh [FOLDER], Python 3.11.
set -eu
folder=${1:-build/bench-venvs}
python=${PYTHON:-python3.11}
mkdir -p "$folder"
"$python" -m venv "$folder/ort-training"
# --no-deps: the wheel asks for torch and h5py, which on-device training does not use
"$folder/ort-training/bin/python" -m pip install -q --no-deps \
  onnxruntime-training-cpu==1.19.2 onnx==1.17.0 "numpy<2" "protobuf<6" flatbuffers packaging
