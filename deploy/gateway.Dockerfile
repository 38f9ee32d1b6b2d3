# The gateway and what learns costs from its traffic (numpy): no vLLM, no torch.
FROM python:3.11-slim-bookworm AS build
COPY --from=ghcr.io/astral-sh/uv:0.9 /uv /usr/local/bin/uv
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY gateway ./gateway
COPY predictor ./predictor
COPY engine_patch ./engine_patch
RUN uv venv /opt/justitia && VIRTUAL_ENV=/opt/justitia uv pip install --no-cache --compile-bytecode ".[predictor]"

FROM python:3.11-slim-bookworm
# Without Redis, API keys and what is learnt lie in /var/lib/justitia: mount a volume there to keep them.
RUN useradd --system --uid 10001 --no-create-home justitia && install --directory --owner 10001 /var/lib/justitia
ENV XDG_STATE_HOME=/var/lib
COPY --from=build /opt/justitia /opt/justitia
USER 10001
EXPOSE 8080
# Within a container "all addresses" is the container's own network.
ENV JUSTITIA_SERVER__HOST=0.0.0.0
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s \
  CMD ["/opt/justitia/bin/python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8080/healthz', timeout=2)"]
ENTRYPOINT ["/opt/justitia/bin/justitia"]
CMD ["serve"]
