"""Faults planted in gateway.identity: each must turn its tests red.

`old` occurs exactly once in `file`; `tests` are what pytest is given.
"""

FAULTS: list[dict[str, str]] = [
    {
        "file": "gateway/identity/tenants.py",
        "old": "tenant = self.tenants.get(key_digest(api_key))",
        "new": 'tenant = self.tenants.get(key_digest(api_key), "anonymous")',
        "why": "an unknown key gets in as a tenant",
        "tests": "tests/identity/test_tenants.py",
    },
    {
        "file": "gateway/identity/tenants.py",
        "old": "        if self.tenants is None:\n            # 48 bits",
        "new": "        if not self.tenants:\n            # 48 bits",
        "why": "revoking the last key opens the gateway to everybody",
        "tests": "tests/identity/test_tenants.py",
    },
    {
        "file": "gateway/identity/names.py",
        "old": "return _SAFE_NAME.fullmatch(value) is not None",
        "new": "return _SAFE_NAME.match(value) is not None",
        "why": "whatever follows a safe beginning (CR LF, megabytes) is let through",
        "tests": "tests/identity/test_names.py",
    },
    {
        "file": "gateway/identity/names.py",
        "old": '_SAFE_TENANT = re.compile(rf"[A-Za-z0-9._~:@+-]',
        "new": '_SAFE_TENANT = re.compile(rf"[A-Za-z0-9._~:@+/-]',
        "why": "tenant a/b's application c is tenant a's application b/c",
        "tests": "tests/identity/test_names.py tests/identity/test_tenants.py",
    },
    {
        "file": "gateway/identity/names.py",
        "old": "sha256_hex(value)[:32]",
        "new": "sha256_hex(value[:128])[:32]",
        "why": "long names that begin alike become one application",
        "tests": "tests/identity/test_names.py",
    },
    {
        "file": "gateway/identity/paths.py",
        "old": '    path = "/" + path.lstrip("/")\n',
        "new": '    path = "/" + _decoded(path).lstrip("/")\n',
        "why": "decoded before it is taken apart, an encoded slash ends its segment",
        "tests": "tests/identity/test_paths.py",
    },
    {
        "file": "gateway/identity/paths.py",
        "old": 'path = "/" + path.lstrip("/")',
        "new": 'path = path if path.startswith("/") else "/" + path',
        "why": "//host/… names another server to whoever joins it to an engine's address",
        "tests": "tests/identity/test_paths.py",
    },
    {
        "file": "gateway/identity/kinds.py",
        "old": "value.isascii() and ",
        "new": "",
        "why": "look-alikes beyond ASCII take a kind's name by being lower-cased",
        "tests": "tests/identity/test_kinds.py",
    },
    {
        "file": "gateway/identity/kinds.py",
        "old": "len(self._labels) >= self._max_labels or ",
        "new": "",
        "why": "clients make the metrics grow without end",
        "tests": "tests/identity/test_kinds.py",
    },
    {
        "file": "gateway/identity/evidence.py",
        "old": "in reversed(facts.headers) if value",
        "new": "in facts.headers if value",
        "why": "the last duplicate of a header counts",
        "tests": "tests/identity/test_evidence.py",
    },
    {
        "file": "gateway/identity/vendors.py",
        "old": "            return Session(name, session, session, is_final)",
        "new": "            return Session(name, session, name, is_final)",
        "why": "every subagent gets a share of its own",
        "tests": "tests/identity/test_vendors.py",
    },
    {
        "file": "gateway/identity/vendors.py",
        "old": ' or header.endswith("-parent-session-id")',
        "new": "",
        "why": "a parent's id is taken for the session's own",
        "tests": "tests/identity/test_vendors.py",
    },
    {
        "file": "gateway/identity/rules.py",
        "old": '    Rule("path", by_path),\n    Rule("header", by_header),\n',
        "new": '    Rule("header", by_header),\n    Rule("path", by_path),\n',
        "why": "a header overrides the path",
        "tests": "tests/identity/test_rules.py tests/identity/test_resolve.py",
    },
    {
        "file": "gateway/identity/resolve.py",
        "old": " and declared != claim.application",
        "new": "",
        "why": "an application that names itself as parent is its own child, whose end closes nothing",
        "tests": "tests/identity/test_resolve.py",
    },
    {
        "file": "gateway/identity/facts.py",
        "old": "return self.is_final and self.root == self.application_id",
        "new": "return self.is_final",
        "why": "a child's end, or one call charged to a parent, closes the parent",
        "tests": "tests/identity/test_resolve.py",
    },
    {
        "file": "gateway/identity/steering.py",
        "old": " or lowered.startswith(STEERING_PREFIXES)",
        "new": "",
        "why": "x-vllm-priority reaches the engine: a client orders itself to the front",
        "tests": "tests/identity/test_steering.py",
    },
]
