# Winnow for jobs, dashboard, server and guard; see docs/howto/containers.md.
#   docker build -t winnow .                           for CPUs
#   docker build -t winnow-cuda --target cuda .
# BASE: any Debian-like image with Python 3.11 or newer and its venv.
ARG BASE=docker.io/library/python:3.11-slim-bookworm

FROM ${BASE} AS base
RUN useradd --uid 10001 --create-home winnow && install --directory --owner winnow /srv/winnow
ENV PATH=/opt/winnow/bin:$PATH PYTHONUNBUFFERED=1 TOKENIZERS_PARALLELISM=false HF_HUB_DISABLE_TELEMETRY=1
WORKDIR /srv/winnow
# A service names the address that says whether it is well; jobs have none.
HEALTHCHECK --interval=15s --timeout=5s --start-period=300s --retries=3 \
  CMD ["python", "-c", "import os, urllib.request as r; u = os.environ.get('HEALTH_URL'); u and r.urlopen(u, timeout=4)"]
CMD ["winnow", "--help"]

FROM base AS cuda
ARG TORCH_INDEX=https://pypi.org/simple
COPY . /tmp/source
RUN sh /tmp/source/docker/install.sh "$TORCH_INDEX" /tmp/source && rm -rf /tmp/source
USER winnow

FROM base AS cpu
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
COPY . /tmp/source
RUN sh /tmp/source/docker/install.sh "$TORCH_INDEX" /tmp/source && rm -rf /tmp/source
USER winnow
