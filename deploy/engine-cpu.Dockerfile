# vLLM's CPU build with Justitia's scheduler, for machines without a GPU: the real engine, and a model made on the spot.
FROM ghcr.io/astral-sh/uv:0.13.0 AS uv

FROM python:3.11.15-slim-bookworm AS build
COPY --from=uv /uv /usr/local/bin/uv
WORKDIR /opt/src
COPY deploy/engine-cpu-overrides.txt ./
COPY pyproject.toml README.md LICENSE ./
COPY gateway ./gateway
COPY predictor ./predictor
COPY engine_patch ./engine_patch
RUN uv venv --no-python-downloads /opt/justitia \
 && uv pip install --python /opt/justitia --no-cache --compile-bytecode --torch-backend cpu \
      --override engine-cpu-overrides.txt ".[engine-cpu]"

FROM python:3.11.15-slim-bookworm
# Its version is the Debian release's: there is one.
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install --yes --no-install-recommends libnuma1 \
 && rm -rf /var/lib/apt/lists/*
# torch wants its user to have a name and a home; weights lie in /models, the model made on the spot in its home.
RUN useradd --system --uid 10001 --user-group --home-dir /var/cache/justitia justitia \
 && install --directory --owner 10001 --group justitia /var/cache/justitia /models
COPY --from=build /opt/justitia /opt/justitia
ENV PATH=/opt/justitia/bin:$PATH \
    HOME=/var/cache/justitia \
    HF_HOME=/models \
    PYTHONUNBUFFERED=1 \
    VLLM_NO_USAGE_STATS=1
WORKDIR /var/cache/justitia
USER 10001
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=10s --start-period=300s --retries=6 \
  CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/health', timeout=9)"]
ENTRYPOINT ["justitia", "engine"]
CMD ["tiny", "--host", "0.0.0.0", "--port", "8000"]
