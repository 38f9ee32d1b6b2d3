"""The shared state behind `gateway.ports.StateStore`: in this process (`memory`) or in Redis (`redis`).

Both do the same floating-point operations in the same order and so agree on every answer to the last bit;
`tests/properties/test_stores_agree.py` holds them to it.
"""
