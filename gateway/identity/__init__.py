"""Who is calling: from path, headers and key to (tenant, application, parent, end).

A server that schedules applications must know which call belongs to which, and few clients say so in the same way.
`identify` asks an ordered table of rules; the first that recognises something names the application:

    1  path      /apps/{application}/v1/…, /apps/{application}/runs/{run}/v1/…
    2  header    X-Justitia-Application
    3  session   what coding agents and other gateways' clients send unchanged (the table in `vendors`)
    7  none      nothing said: the call is an application of its own, which ends with it

(The numbers leave room for what a body, a trace or the messages themselves may tell.) X-Justitia-Kind, -Parent and
-Final add to whatever rule matched. What names one call (x-request-id, x-correlation-id) or a person (`user`) never
groups, and a weight is never taken from a client.

Three promises hold for any bytes a client invents:

- **Tenants never meet.** The tenant comes from the key alone. An application id is `{tenant}/{name}`; neither part can
  contain a slash, so an id has one reading only, and a claimed name or parent stays inside its own tenant. Within a
  tenant every name is free to take: a client may join another's application there, which only shares one share.
- **Ids are bounded and harmless.** A short name of [A-Za-z0-9._~:@+-] is used as it is; anything else becomes a digest
  (`names`), so it stays one stable application and can travel in a header, a key, a log or a URL.
- **Never an error**, but one: AuthenticationFailed, where keys are configured and the call carries none of them.

Children fold into their root: service is charged, and order decided, at `Identity.root`. Only a root that this call
itself tells of is known here; who remembers that a parent has a parent may fold further.

Pure: no clock, no log, no await, no third party.
"""

from gateway.identity.facts import Identity, RequestFacts, RuleName
from gateway.identity.kinds import DEFAULT_KIND, OTHER_KIND, KindRegistry, safe_kind
from gateway.identity.names import application_id, safe_name
from gateway.identity.resolve import identify
from gateway.identity.rules import RULES, Claim, Rule
from gateway.identity.shapes import ShapeRegistry, prompt_shape
from gateway.identity.steering import is_steering
from gateway.identity.tenants import KEY_HEADERS, KeyRing, carried_key, key_digest

__all__ = [
    "DEFAULT_KIND",
    "KEY_HEADERS",
    "OTHER_KIND",
    "RULES",
    "Claim",
    "Identity",
    "KeyRing",
    "KindRegistry",
    "RequestFacts",
    "Rule",
    "RuleName",
    "ShapeRegistry",
    "application_id",
    "carried_key",
    "identify",
    "is_steering",
    "key_digest",
    "prompt_shape",
    "safe_kind",
    "safe_name",
]
