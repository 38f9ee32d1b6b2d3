# vLLM with Justitia's scheduler. The base image has CUDA, torch and vLLM; only the patch and its command are added.
FROM ghcr.io/astral-sh/uv:0.13.0 AS uv

FROM python:3.11.15-slim-bookworm AS build
COPY --from=uv /uv /usr/local/bin/uv
WORKDIR /opt/src
COPY pyproject.toml README.md LICENSE ./
COPY gateway ./gateway
COPY predictor ./predictor
COPY engine_patch ./engine_patch
RUN uv build --wheel --no-cache --out-dir /opt/dist

FROM vllm/vllm-openai:v0.32.0
USER 0
# torch wants its user to have a name and a home; weights lie in /models, what vLLM compiles in its home.
RUN useradd --system --uid 10001 --user-group --home-dir /var/cache/justitia justitia \
 && install --directory --owner 10001 --group justitia /var/cache/justitia /models
COPY --from=build /opt/dist /opt/justitia
# Without dependencies: the patch needs only vLLM and the standard library, and `justitia engine` no more than that.
RUN python3 -m pip install --no-cache-dir --no-deps /opt/justitia/*.whl
ENV HOME=/var/cache/justitia \
    HF_HOME=/models \
    PYTHONUNBUFFERED=1 \
    VLLM_NO_USAGE_STATS=1
WORKDIR /var/cache/justitia
USER 10001
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=10s --start-period=1800s --retries=6 \
  CMD ["python3", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/health', timeout=9)"]
ENTRYPOINT ["justitia", "engine"]
CMD ["Qwen/Qwen2.5-7B-Instruct", "--host", "0.0.0.0", "--port", "8000"]
