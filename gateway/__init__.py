"""Justitia Gateway: fair, fast scheduling of LLM applications in front of vLLM."""
