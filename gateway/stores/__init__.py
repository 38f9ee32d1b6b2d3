"""What outlives a call, in this process, in local files or in Redis.

- The shared state behind `gateway.ports.StateStore`: `memory` or `redis`. Both do the same floating-point operations in
  the same order and so agree on every answer to the last bit; `tests/properties/test_stores_agree.py` holds them to it.
- The record of closed applications behind `gateway.ports.History`: `file_history` or `redis_history`, both lines of
  `closed_json`.
- Trained predictors behind `gateway.ports.ArtifactShelf`: `folder_shelf` or `redis_shelf`, both by the rules of
  `shelf`.
- Links between calls behind `gateway.ports.LinkStore`: `memory_links` or `redis_links`.
- What tenants use behind `gateway.ports.UsageLedger`: `redis_usage`, or `memory_usage` for tests.
- API keys behind `key_book.KeyStore`: `file_keys` or `redis_keys`, both by the rules of `key_book`.

`redis_connection` and `local_files` are how they reach Redis and the disk, and fail in time.
"""
