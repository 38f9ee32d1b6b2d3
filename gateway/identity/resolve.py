"""The decision: tenant from the key, application from the first rule that claims it, then what every rule shares."""

from collections.abc import Iterable

from gateway.identity.evidence import Evidence
from gateway.identity.facts import Identity, RequestFacts, RuleName
from gateway.identity.kinds import safe_kind
from gateway.identity.names import application_id
from gateway.identity.rules import RULES, Claim, Rule, alone
from gateway.identity.tenants import KeyRing


def identify(facts: RequestFacts, keys: KeyRing, rules: Iterable[Rule] = RULES) -> Identity:
    """Whose call this is. Raises AuthenticationFailed, and nothing else whatever the request holds."""
    tenant = keys.tenant_of(facts.api_key)
    evidence = Evidence.of(facts)
    rule, claim = _first_claim(evidence, rules)
    parent, root = _family(claim, evidence)
    kind = evidence.text_in(("x-justitia-kind",))
    return Identity(
        tenant=tenant,
        application_id=application_id(tenant, claim.application),
        application=claim.application,
        rule=rule,
        kind=claim.kind if kind is None else safe_kind(kind),
        parent=None if parent is None else application_id(tenant, parent),
        root=application_id(tenant, root),
        # Only a yes counts: a header cannot revive a session that its own client ends, nor a call without a name.
        is_final=claim.is_final or evidence.is_true(("x-justitia-final",)),
        upstream_path=evidence.path.upstream_path,
    )


def _first_claim(evidence: Evidence, rules: Iterable[Rule]) -> tuple[RuleName, Claim]:
    for rule in rules:
        claim = rule.claim(evidence)
        if claim is not None:
            return rule.name, claim
    return "none", alone(evidence)


def _family(claim: Claim, evidence: Evidence) -> tuple[str | None, str]:
    """(parent, root). A declared parent stands above what a rule found, and takes the whole charge.

    So a call that names nothing but its parent (rule 7) is charged to that parent: still an application of its own
    that ends with its call, but a child, whose end leaves the parent open. Nobody is their own parent.
    """
    declared = evidence.name_in(("x-justitia-parent",))
    if declared is not None and declared != claim.application:
        return declared, declared
    return claim.parent, claim.root or claim.application
