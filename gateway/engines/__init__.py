"""Adapters to inference engines.

`vllm` speaks with one vLLM server, with our patch or without; `patched` and `stock` read the two forms in which it
tells how full it is, `upstream` is its HTTP client, and `wire` puts a rank into an integer.
"""
