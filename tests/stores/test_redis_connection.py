import pytest
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import OutOfMemoryError, RedisError, ResponseError

from gateway.errors import StoreUnavailable
from gateway.stores.redis_connection import RedisConnection

SAID_BY_5_0 = ResponseError(
    "Error running script (call to f_d5bd80): @user_script:159: @user_script: 159: "
    "Unknown Redis command called from Lua script"
)
SAID_BY_6_2 = ResponseError(
    "Error running script (call to f_d5bd80): @user_script:37: @user_script: 37: "
    "-READONLY You can't write against a read only replica."
)


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (SAID_BY_5_0, "it is too old, or lacks commands of Redis 6.2"),
        (ResponseError("Invalid stream ID specified as stream command argument"), "it is too old, or lacks commands"),
        (ResponseError("unknown command `X`, with args beginning with: `secret`"), "it is too old, or lacks commands"),
        (SAID_BY_6_2, "ResponseError READONLY"),
        (ResponseError("WRONGTYPE Operation against a key holding the wrong kind of value"), "ResponseError"),
        (ResponseError("-NOT from a script, secret"), "ResponseError"),
        (OutOfMemoryError("command not allowed when used memory > 'maxmemory'."), "OutOfMemoryError"),
        (RedisConnectionError("Error 111 connecting to secret"), "ConnectionError"),
        (OSError("secret"), "OSError"),
    ],
)
async def test_an_operator_is_told_why_and_not_what_was_asked(error: RedisError, told: str) -> None:
    redis = RedisConnection("redis://127.0.0.1:1", timeout_s=1, max_connections=1, decode_responses=True)

    async def asked() -> None:
        raise error

    with pytest.raises(StoreUnavailable) as raised:
        await redis.within_time(asked())
    assert raised.value.message.startswith(f"the state store cannot be used: {told}")
    assert "secret" not in raised.value.message
    assert raised.value.__cause__ is error
    await redis.aclose()
