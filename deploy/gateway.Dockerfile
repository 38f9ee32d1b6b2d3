# The gateway, what learns costs from its traffic (numpy), what it traces with: no vLLM, no torch.
FROM ghcr.io/astral-sh/uv:0.13.0 AS uv

FROM python:3.11.15-slim-bookworm AS build
COPY --from=uv /uv /usr/local/bin/uv
WORKDIR /opt/src
# Versions and hashes of all it depends on. After a change in pyproject.toml, docs/deploy.md says how to make it anew.
COPY deploy/gateway.lock ./
RUN uv venv --no-python-downloads /opt/justitia \
 && uv pip install --python /opt/justitia --no-cache --compile-bytecode --require-hashes --no-deps --requirement gateway.lock
COPY pyproject.toml README.md LICENSE ./
COPY gateway ./gateway
COPY predictor ./predictor
COPY engine_patch ./engine_patch
RUN uv build --wheel --no-cache --out-dir /opt/dist \
 && uv pip install --python /opt/justitia --no-cache --compile-bytecode --no-deps /opt/dist/*.whl

FROM python:3.11.15-slim-bookworm
# Without Redis, API keys and what is learnt lie in /var/lib/justitia: mount a volume there to keep them.
RUN useradd --system --uid 10001 --user-group --no-create-home justitia \
 && install --directory --owner 10001 --group justitia --mode 0700 /var/lib/justitia
COPY --from=build /opt/justitia /opt/justitia
# Within a container "all addresses" is the container's own network.
ENV PATH=/opt/justitia/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    XDG_STATE_HOME=/var/lib \
    JUSTITIA_SERVER__HOST=0.0.0.0
USER 10001
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s \
  CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8080/healthz', timeout=2)"]
ENTRYPOINT ["justitia"]
CMD ["serve"]
