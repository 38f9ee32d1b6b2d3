"""How a rank travels to an engine: vLLM's priority is an integer on the wire, ours is a float.

The bit pattern of a non-negative IEEE double, read as an integer, has the order of the doubles themselves. So the
integer keeps every bit of the rank, two different ranks stay different, and 64 bits are enough.
"""

import struct
import sys

MAX_WIRE_RANK: int = struct.unpack(">q", struct.pack(">d", sys.float_info.max))[0]
"""Below 2**63: what vLLM's header takes."""


def rank_to_wire(rank: float) -> int:
    """Order-preserving for finite ranks >= 0. Smaller ones become 0; infinity and NaN become the largest: last."""
    if rank <= 0.0:  # -0.0 too, whose bits would read as the smallest integer of all
        return 0
    if not rank <= sys.float_info.max:
        return MAX_WIRE_RANK
    wire: int = struct.unpack(">q", struct.pack(">d", rank))[0]
    return wire
