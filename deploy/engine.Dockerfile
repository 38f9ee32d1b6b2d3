# vLLM with Justitia's scheduler. The base image has CUDA, torch and vLLM; only the patch and its command are added.
FROM vllm/vllm-openai:v0.32.0
WORKDIR /opt/justitia
COPY pyproject.toml README.md LICENSE ./
COPY gateway ./gateway
COPY predictor ./predictor
COPY engine_patch ./engine_patch
# Without dependencies: the patch needs only vLLM and the standard library, and `justitia engine` no more than that.
RUN python3 -m pip install --no-cache-dir --no-deps .
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=600s \
  CMD ["python3", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/health', timeout=2)"]
ENTRYPOINT ["justitia", "engine"]
CMD ["Qwen/Qwen2.5-7B-Instruct", "--host", "0.0.0.0", "--port", "8000"]
