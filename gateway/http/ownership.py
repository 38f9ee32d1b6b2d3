"""Stored responses: each is in one engine, and its tenant's. Engines know no tenants, so the gateway must not ask them
for another's."""

from gateway.errors import InvalidRequest
from gateway.identity import Keys, link_key
from gateway.ports import LinkStore


class ResponseNotFound(InvalidRequest):
    status = 404


async def home_of(keys: Keys, links: LinkStore, tenant: str, response_id: str) -> str | None:
    """The engine that keeps it, if that is known. Raises ResponseNotFound, unless this tenant's own calls were answered
    with this id. In open mode a tenant proves nothing, so nothing is refused there."""
    is_own, home = link_key("response", tenant, response_id), link_key("home", tenant, response_id)
    if not keys.is_open and not await links.find(tenant, (is_own,)):
        raise ResponseNotFound(f"There is no response {response_id!r:.80}.", param="previous_response_id")
    return (await links.find(tenant, (home,))).get(home)
