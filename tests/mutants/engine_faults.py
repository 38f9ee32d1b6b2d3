"""Faults planted in our HTTP client towards an engine: each must turn its tests red.

`old` occurs exactly once in `file`; `tests` are what pytest is given.
"""

CONNECTION = "gateway/engines/connection.py"
RESPONSE = "gateway/engines/response.py"
POOL = "gateway/engines/pool.py"
HEAD = "gateway/engines/request_head.py"

ANSWERS = "tests/engines/test_connection.py"
REUSE = "tests/engines/test_pool.py"
SENDING = "tests/engines/test_upstream.py"
HEADS = "tests/engines/test_request_head.py"

FAULTS: list[dict[str, str]] = [
    # --- what arrives -----------------------------------------------------------------------------------------------
    {
        "file": CONNECTION,
        "old": "        if self._head_bytes > MAX_HEAD_BYTES:\n",
        "new": "        if False:\n",
        "why": "an engine fills the memory with headers",
        "tests": f"{ANSWERS} -k malformed",
    },
    {
        "file": CONNECTION,
        "old": "len(name) + len(value) + HEADER_WORTH_BYTES",
        "new": "len(name) + len(value)",
        "why": "thousands of empty headers cost nothing",
        "tests": f"{ANSWERS} -k malformed",
    },
    {
        "file": CONNECTION,
        "old": "elif self._unyielding_bytes > MAX_HEAD_BYTES:",
        "new": "elif False:",
        "why": "a header, trailer or chunk extension that never ends fills the memory",
        "tests": f"{ANSWERS} -k never_ends",
    },
    {
        "file": CONNECTION,
        "old": "            self._unyielding_bytes = 0\n            self._response.keep(data)",
        "new": "            self._response.keep(data)",
        "why": "a long stream of small chunks is broken off",
        "tests": f"{ANSWERS} -k small_chunks",
    },
    {
        "file": CONNECTION,
        "old": "if 200 <= status <= 599:",
        "new": "if 200 <= status:",
        "why": "a status that no server can send on",
        "tests": f"{ANSWERS} -k malformed",
    },
    {
        "file": CONNECTION,
        "old": "elif 100 <= status < 200 and status != 101:",
        "new": "elif 100 <= status < 200:",
        "why": "a change of protocol is not named as what went wrong",
        "tests": f"{ANSWERS} -k changes_the_protocol",
    },
    {
        "file": CONNECTION,
        "old": "except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:",
        "new": "except httptools.HttpParserError as error:",
        "why": "a change of protocol is an exception in the loop (it is no HttpParserError)",
        "tests": f"{ANSWERS} -k changes_the_protocol",
    },
    {
        "file": CONNECTION,
        "old": "        if self._flaw is not None:\n            self._fail(",
        "new": "        if self._flaw is not None and not self._is_over:\n            self._fail(",
        "why": "what is malformed and complete is an answer",
        "tests": f"{ANSWERS} -k malformed",
    },
    {
        "file": CONNECTION,
        "old": "            self._response.headers.clear()\n",
        "new": "",
        "why": "headers of an interim answer are taken for the answer's",
        "tests": f"{ANSWERS} -k headers_are_as_sent",
    },
    {
        "file": CONNECTION,
        "old": "elif not self._status and self._response is not None:",
        "new": "elif self._response is not None:",
        "why": "trailers are taken for headers",
        "tests": f"{ANSWERS} -k headers_are_as_sent",
    },
    {
        "file": CONNECTION,
        "old": "elif error is None and self._status and not _is_framed(response):",
        "new": "elif self._status and not _is_framed(response):",
        "why": "a body without a length that was reset looks complete",
        "tests": f"{ANSWERS} -k must_not_end_in_a_reset",
    },
    {
        "file": CONNECTION,
        "old": "elif error is None and self._status and not _is_framed(response):",
        "new": "elif error is None and self._status:",
        "why": "a body cut off looks complete",
        "tests": f"{ANSWERS} -k cut_off",
    },
    {
        "file": CONNECTION,
        "old": "            self._is_over = self._is_head_only\n",
        "new": "",
        "why": "an answer to HEAD is waited for until the silence ends it",
        "tests": f"{ANSWERS} -k to_head",
    },
    {
        "file": CONNECTION,
        "old": "if response.num_kept or response.status or not _has_length(response):",
        "new": "if True:",
        "why": "a short answer in two segments wakes its task twice",
        "tests": f"{ANSWERS} -k wakes",
    },
    {
        "file": CONNECTION,
        "old": "if response.num_kept or response.status or not _has_length(response):",
        "new": "if response.num_kept or response.status:",
        "why": "a stream's client gets no headers before the first event",
        "tests": f"{ANSWERS} -k begins_before",
    },
    {
        "file": RESPONSE,
        "old": "            self._raise_any_failure()\n            if self._is_complete:",
        "new": "            if self._is_complete or self._error is not None:",
        "why": "an answer that broke off ends as if complete",
        "tests": f"{ANSWERS} -k cut_off",
    },
    {
        "file": RESPONSE,
        "old": "raise copy.copy(self._error)",
        "new": "raise self._error",
        "why": "all of a call whose engine failed is kept until garbage is looked for",
        "tests": "tests/http/test_garbage.py",
    },
    {
        "file": CONNECTION,
        "old": "        del self._parser  # each refers to the other\n",
        "new": "",
        "why": "connections that are closed are kept until garbage is looked for",
        "tests": f"{REUSE} -k collector",
    },
    # --- which connection -------------------------------------------------------------------------------------------
    {
        "file": CONNECTION,
        "old": "        self._has_excess = self._is_over\n",
        "new": "        pass\n",
        "why": "what follows an answer becomes the next call's",
        "tests": f"{REUSE} -k nobodys",
    },
    {
        "file": CONNECTION,
        "old": "return self.is_open() and not self._poll.poll(0)",
        "new": "return self.is_open()",
        "why": "a call goes down a connection that has ended, or takes for its own what lay there",
        "tests": f"{REUSE} -k stirs",
    },
    {
        "file": CONNECTION,
        "old": "            self._transport.abort()  # an answer to nothing\n",
        "new": "",
        "why": "an answer to nothing is dropped and its connection used on",
        "tests": f"{REUSE} -k stirs",
    },
    {
        "file": CONNECTION,
        "old": "        if self._keeps_alive and is_sent and",
        "new": "        if is_sent and",
        "why": "a connection that the engine is closing is used again",
        "tests": f"{ANSWERS} -k ends_its_connection",
    },
    {
        "file": POOL,
        "old": "            connection = self._idle.pop()\n",
        "new": "            connection = self._idle.pop(0)\n",
        "why": "connections too many are kept awake in turn",
        "tests": f"{REUSE} -k used_last",
    },
    {
        "file": POOL,
        "old": "if connection.idle_since > expired_at and connection.is_quiet():",
        "new": "if connection.is_quiet():",
        "why": "a connection that the engine may be closing is used because a timer is late",
        "tests": f"{REUSE} -k expired",
    },
    {
        "file": POOL,
        "old": "        if self._expiry is None:\n",
        "new": "        if False:\n",
        "why": "idle connections stay for ever",
        "tests": f"{REUSE} -k given_up",
    },
    {
        "file": RESPONSE,
        "old": "            self._source.hang_up()\n        self._pieces.clear()",
        "new": "            pass\n        self._pieces.clear()",
        "why": "an engine works on for nobody",
        "tests": f"{REUSE} -k unread",
    },
    # --- what leaves ------------------------------------------------------------------------------------------------
    {
        "file": HEAD,
        "old": '        head.count(b"\\n") != num_lines\n        or ',
        "new": "        ",
        "why": "a line feed in a value makes two headers of one",
        "tests": f"{SENDING} -k read_as_more",
    },
    {
        "file": HEAD,
        "old": '        or b"".join(names).translate(None, _NAME_BYTES)\n',
        "new": "",
        "why": "a name with a colon becomes another name",
        "tests": f"{SENDING} -k read_as_more",
    },
    {
        "file": HEAD,
        "old": "        or not _OURS.isdisjoint(names)\n",
        "new": "",
        "why": "a second length decides where the request ends",
        "tests": f"{HEADS} {SENDING} -k read_as",
    },
    {
        "file": CONNECTION,
        "old": "while self._unsent and not self._is_write_paused and",
        "new": "while self._unsent and",
        "why": "a large body is copied whole into the transport",
        "tests": f"{SENDING} -k handed_over",
    },
    {
        "file": CONNECTION,
        "old": "        is_sent = not self._unsent and self._transport.get_write_buffer_size() == 0\n",
        "new": "        is_sent = True\n",
        "why": "the rest of a refused body stands before the next request",
        "tests": f"{SENDING} -k before_the_request",
    },
    # --- time -------------------------------------------------------------------------------------------------------
    {
        "file": CONNECTION,
        "old": "                self._transport.pause_reading()",
        "new": "                pass",
        "why": "a slow client's answer fills the memory",
        "tests": f"{SENDING} -k slow_reader",
    },
    {
        "file": CONNECTION,
        "old": "(now if self._is_read_paused else self._heard_at)",
        "new": "self._heard_at",
        "why": "a slow client makes its engine a silent one",
        "tests": f"{SENDING} -k slow_reader",
    },
    {
        "file": CONNECTION,
        "old": "        self._heard_at = self._loop.time()\n        self._unyielding_bytes",
        "new": "        self._unyielding_bytes",
        "why": "a long stream is a silence",
        "tests": f"{SENDING} -k drips",
    },
    {
        "file": CONNECTION,
        "old": "        self._timer = None\n        if self._response is None:\n            return\n",
        "new": "        if self._response is None:\n            return\n",
        "why": "a connection that was idle once is never watched again",
        "tests": f"{SENDING} -k 'idle or watched'",
    },
    {
        "file": RESPONSE,
        "old": "            if self._source is not None:\n                self._source.hang_up()\n            raise",
        "new": "            raise",
        "why": "a call cancelled before its answer runs on in the engine",
        "tests": f"{SENDING} -k cancelled",
    },
]
