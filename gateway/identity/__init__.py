"""Who is calling: from path, headers, key and body to (tenant, application, parent, end).

A server that schedules applications must know which call belongs to which, and few clients say so in the same way.
The first rule of an ordered table that recognises something names the application:

    1  path      /apps/{application}/v1/…, /apps/{application}/runs/{run}/v1/…
    2  header    X-Justitia-Application
    3  session   what coding agents and other gateways' clients send unchanged (the table in `vendors`)
    4  body      metadata.application_id · previous_response_id, conversation · the session in Claude Code's
                 metadata.user_id · prompt_cache_key
    5  trace     baggage's session.id or gen_ai.conversation.id · traceparent, from the second call of a trace on
    6  lineage   nothing is said, but the messages begin with an earlier call's and its answer: inferred
    7  none      the call is an application of its own, which ends with it unless a later call may continue it

X-Justitia-Kind, -Parent and -Final add to whatever rule matched. What names one call (x-request-id, x-correlation-id)
or a person (`user`, `safety_identifier`) never groups, and a weight is never taken from a client.

Rules 1 to 3 need the call alone. The others follow what earlier calls left: `links`, from a digest of what a later call
may carry to the name of an application. They may lie in another process, so a call is asked about in steps:

    inquiry = Inquiry(facts, tenant)                        the tenant: KeyRing.tenant_of, before a body is read
    identity = inquiry.identity(known)                      known: what is linked to inquiry.wanted, often nothing
    inquiry.links(identity)                                 to be noted when the call arrives
    inquiry.answer_links(identity, reader.answer)           to be noted when it is answered (inquiry.answer_reader)

An unnamed call that a later one may continue (it has messages, a trace, or leaves a response) leaves its application
open; it is closed when it has been idle, and opened again should it go on later still. What is lost of links costs
order, never a call: each call is then its own application again.

Three promises hold for any bytes a client invents:

- **Tenants never meet.** The tenant comes from the key alone. An application id is `{tenant}/{name}`; neither part can
  contain a slash, so an id has one reading only, and a claimed name or parent stays inside its own tenant. A link's
  key holds the tenant. Within a tenant every name is free to take: a client may join another's application there,
  which only shares one share.
- **Ids are bounded and harmless.** A short name of [A-Za-z0-9._~:@+-] is used as it is; anything else becomes a digest
  (`names`), so it stays one stable application and can travel in a header, a key, a log or a URL.
- **Never an error**, but one: AuthenticationFailed, where keys are configured and the call carries none of them. And
  never much work: a call named by rules 1 to 3 is told from its headers alone, a usual conversation is read in a tenth
  of a millisecond, and whatever a body holds, in some tens of milliseconds.

Children fold into their root: service is charged, and order decided, at `Identity.root`. Which child has which root is
a link too: a later call that names only the child is charged to the root as well. Links lead to roots, as far as was
known when they were noted, and none is followed further; so there is no cycle to be caught in.

Pure: no clock, no log, no await, no third party.
"""

from gateway.identity.answers import Answer, AnswerReader
from gateway.identity.facts import Identity, RequestFacts, RuleName
from gateway.identity.kinds import DEFAULT_KIND, OTHER_KIND, KindRegistry, safe_kind
from gateway.identity.links import LinkKey, Links, link_key
from gateway.identity.names import application_id, safe_name
from gateway.identity.resolve import Inquiry, identify
from gateway.identity.rules import RULES, Claim, Rule
from gateway.identity.shapes import ShapeRegistry, prompt_shape
from gateway.identity.tenants import KEY_HEADERS, KeyRing, Keys, LiveKeys, carried_key, key_digest
from gateway.identity.terms import NO_LIMITS, TenantTerms

__all__ = [
    "DEFAULT_KIND",
    "KEY_HEADERS",
    "NO_LIMITS",
    "OTHER_KIND",
    "RULES",
    "Answer",
    "AnswerReader",
    "Claim",
    "Identity",
    "Inquiry",
    "KeyRing",
    "Keys",
    "KindRegistry",
    "LinkKey",
    "Links",
    "LiveKeys",
    "RequestFacts",
    "Rule",
    "RuleName",
    "ShapeRegistry",
    "TenantTerms",
    "application_id",
    "carried_key",
    "identify",
    "key_digest",
    "link_key",
    "prompt_shape",
    "safe_kind",
    "safe_name",
]
