#!/bin/sh
# Runs Winnow in an image: as its user, with the smoke part of the tests, which come from this checkout.
set -eu
here=$(cd "$(dirname "$0")/.." && pwd)
container=$($BUILDAH from --pull-never "$1")
trap '$BUILDAH rm "$container" > /dev/null' EXIT
# The volumes of IMAGE_FLAGS hold for this too; build arguments do not.
volumes=$(echo "$IMAGE_FLAGS" | grep -oE -- '(-v|--volume|--env) ?[^ ]+' || true)
# shellcheck disable=SC2086  # words
inside() { $BUILDAH run --isolation chroot $volumes --volume "$here:/checkout:ro" "$container" -- "$@"; }
inside id -un
inside winnow --help
inside winnow doctor
inside serve start --help
inside pip install --quiet --no-cache-dir --target /tmp/tools pytest pytest-timeout hypothesis
inside sh -c 'mkdir /tmp/smoke && cp -r /checkout/tests /checkout/pyproject.toml /tmp/smoke && cd /tmp/smoke &&
  PYTHONPATH=/tmp/tools python -m pytest -p no:cacheprovider tests/test_console_scripts.py'
