"""Routes about applications: declare one, see why it waits, close it. A tenant sees its own only."""

from typing import Annotated
from uuid import uuid4

from fastapi import APIRouter, Depends, Request

from gateway.http.schemas import (
    REFUSALS,
    Application,
    ApplicationList,
    ClosedApplication,
    Declaration,
    show,
    show_closed,
)
from gateway.identity import DEFAULT_KIND, Identity, Keys, application_id, carried_key, link_key, safe_kind, safe_name
from gateway.ports import LinkStore
from gateway.scheduling.application_desk import ApplicationDesk


def applications_router(desk: ApplicationDesk, keys: Keys, links: LinkStore) -> APIRouter:
    router = APIRouter(prefix="/v1/applications", tags=["applications"], responses=REFUSALS)

    def tenant_of(request: Request) -> str:
        return keys.tenant_of(carried_key(request.headers.raw))

    Tenant = Annotated[str, Depends(tenant_of)]

    @router.get("")
    async def list_applications(tenant: Tenant) -> ApplicationList:
        """Your open applications, in order of virtual finish time."""
        known = await desk.list_all()
        return ApplicationList(
            virtual_time=known[0].virtual_time if known else None,
            data=[show(application) for application in known if application.tenant == tenant],
        )

    @router.post("", status_code=201)
    async def declare_application(tenant: Tenant, declaration: Declaration | None = None) -> Application:
        """Announce an application before its first call. One that is open already stays as it is."""
        wanted = declaration or Declaration()
        identity = _declared_identity(tenant, wanted)
        if identity.parent is not None:  # from now on, calls that name only the child are charged to its parent
            parent_name = safe_name(wanted.parent or "")
            await links.note(tenant, {link_key("family", tenant, identity.application): parent_name})
        described = await desk.declare(identity, weight=wanted.weight, expected_cost=wanted.expected_cost)
        return show(described)

    @router.get("/{name}")
    async def describe_application(tenant: Tenant, name: str) -> Application:
        """Where it stands, and why it waits."""
        return show(await desk.describe(application_id(tenant, safe_name(name))))

    @router.post("/{name}/close")
    async def close_application(tenant: Tenant, name: str) -> ClosedApplication:
        """It is finished: its measured cost replaces the prediction."""
        return show_closed(await desk.close(application_id(tenant, safe_name(name))))

    return router


def _declared_identity(tenant: str, declaration: Declaration) -> Identity:
    """Its own root: what a child's calls cost is its parent's (see `declare_application`)."""
    name = safe_name(declaration.id) if declaration.id is not None else f"app-{uuid4().hex}"
    own_id = application_id(tenant, name)
    parent = None if declaration.parent is None else application_id(tenant, safe_name(declaration.parent))
    return Identity(
        tenant=tenant,
        application_id=own_id,
        application=name,
        rule="header",
        kind=DEFAULT_KIND if declaration.kind is None else safe_kind(declaration.kind),
        parent=None if parent == own_id else parent,
        root=own_id,
        is_final=False,
        upstream_path="/v1/applications",
    )
