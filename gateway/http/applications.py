"""Routes about applications: declare one, see why it waits, close it. A tenant sees its own only."""

from typing import Annotated
from uuid import uuid4

from fastapi import APIRouter, Depends, Request

from gateway.http.headers import decoded
from gateway.http.schemas import Application, ApplicationList, ClosedApplication, Declaration, show, show_closed
from gateway.identity import DEFAULT_KIND, Identity, KeyRing, application_id, carried_key, safe_kind, safe_name
from gateway.scheduling.application_desk import ApplicationDesk


def applications_router(desk: ApplicationDesk, keys: KeyRing) -> APIRouter:
    router = APIRouter(prefix="/v1/applications", tags=["applications"])

    def tenant_of(request: Request) -> str:
        return keys.tenant_of(carried_key(decoded(request.headers.raw)))

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
        described = await desk.declare(
            _declared_identity(tenant, wanted), weight=wanted.weight, expected_cost=wanted.expected_cost
        )
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
    """Its own root: a child is folded into its parent by the calls that name both."""
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
