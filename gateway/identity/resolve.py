"""The decision: application from the first rule that claims it, then what every rule shares.

It is taken in two steps, because what earlier calls left behind may lie in another process: an `Inquiry` says which
links it wants to know, is told what is known of them, and answers. After that it says which links the call leaves.
"""

from collections.abc import Iterable, Mapping

from gateway.identity.answers import Answer, AnswerReader
from gateway.identity.clues import Clue, body_clue, conversation_in, trace_clue
from gateway.identity.evidence import Evidence
from gateway.identity.facts import Identity, RequestFacts, RuleName
from gateway.identity.kinds import safe_kind
from gateway.identity.lineage import Lineage
from gateway.identity.links import LinkKey, link_key
from gateway.identity.names import application_id, safe_name
from gateway.identity.rules import RULES, Claim, Rule, alone

_RESPONSES = "/v1/responses"

_NOTHING_KNOWN: Mapping[LinkKey, str] = {}


def identify(facts: RequestFacts, tenant: str, known: Mapping[LinkKey, str] = _NOTHING_KNOWN) -> Identity:
    """Whose call this is, for a call that will leave no links. Never raises, whatever the request holds."""
    return Inquiry(facts, tenant).identity(known)


class Inquiry:
    """Whose call is this? Nothing here raises, whatever the request holds."""

    def __init__(self, facts: RequestFacts, tenant: str, rules: Iterable[Rule] = RULES) -> None:
        self._tenant = tenant
        self._evidence = Evidence.of(facts)
        self._declared_parent = self._evidence.name_in(("x-justitia-parent",))
        self._lineage: Lineage | None = None
        self._named = self._first_claim(rules)
        self._clues = self._read_clues() if self._named is None else ()
        self._eldest = self._eldest_named()
        self._family_key = None if self._eldest is None else link_key("family", tenant, self._eldest)
        family = () if self._family_key is None else (self._family_key,)
        self.wanted: tuple[LinkKey, ...] = (*family, *(clue.key for clue in self._clues if clue.key is not None))
        """The links to look up, the most telling first: when one of them is known, those after it may be left out.
        At most ten."""

    def identity(self, known: Mapping[LinkKey, str]) -> Identity:
        """`known`: of the wanted links, the names they lead to."""
        rule, claim = self._named or self._follow(known)
        parent, root = self._family(claim, known)
        kind = self._evidence.text_in(("x-justitia-kind",))
        return Identity(
            tenant=self._tenant,
            application_id=application_id(self._tenant, claim.application),
            application=claim.application,
            rule=rule,
            kind=claim.kind if kind is None else safe_kind(kind),
            parent=None if parent is None else application_id(self._tenant, parent),
            root=application_id(self._tenant, root),
            # Only a yes counts: a header cannot revive a session that its own client ends, nor a call without a name.
            is_final=claim.is_final or self._evidence.is_true(("x-justitia-final",)),
            upstream_path=self._evidence.path.upstream_path,
        )

    def links(self, identity: Identity) -> dict[LinkKey, str]:
        """What the call leaves as it arrives: to be noted before it waits, for others may be on their way. The last
        that is asked of its body, which is let go: parsed, it takes several times the memory of its bytes."""
        root, links = _root_name(identity), {}
        if identity.root != identity.application_id and identity.rule != "none":
            links[link_key("family", self._tenant, identity.application)] = root
        if self._named is None:
            links.update({clue.key: root for clue in self._clues if clue.rule == "trace" and clue.key is not None})
        else:
            conversation = conversation_in(self._evidence.fields)
            if conversation is not None:
                links[link_key("conversation", self._tenant, conversation)] = root
        evidence = self._evidence
        self._evidence = Evidence(evidence.path, evidence.headers, evidence.call_id)
        return links

    def answer_reader(self, identity: Identity) -> AnswerReader | None:
        """Reads of the answer what `answer_links` needs; None where that is nothing."""
        if self._lineage is not None:
            return AnswerReader(wants_message=True)
        return AnswerReader(wants_message=False) if identity.upstream_path == _RESPONSES else None

    def answer_links(self, identity: Identity, answer: Answer) -> dict[LinkKey, str]:
        """What its answer leaves: to be noted before the client can have seen the end of it."""
        root, links = _root_name(identity), {}
        if answer.response_id is not None:
            links[link_key("response", self._tenant, answer.response_id)] = root
        chain = None if self._lineage is None or answer.message is None else self._lineage.after(answer.message)
        if chain is not None:
            links[chain] = root
        return links

    def _first_claim(self, rules: Iterable[Rule]) -> tuple[RuleName, Claim] | None:
        for rule in rules:
            claim = rule.claim(self._evidence)
            if claim is not None:
                return rule.name, claim
        return None

    def _read_clues(self) -> tuple[Clue, ...]:
        """Rules 4 to 6, up to the first that is sure. Messages are read only where nothing is."""
        clue = body_clue(self._evidence.fields, self._tenant)
        if clue is None:
            clue = trace_clue(self._evidence, self._tenant)
        if clue is not None and clue.name is not None:
            return (clue,)
        if self._declared_parent is not None:
            return ()  # charged to its parent, whatever its own name is
        self._lineage = Lineage.of(self._evidence.fields, self._tenant)
        chains = () if self._lineage is None else self._lineage.keys
        return (*(() if clue is None else (clue,)), *(Clue("lineage", key) for key in chains))

    def _follow(self, known: Mapping[LinkKey, str]) -> tuple[RuleName, Claim]:
        for clue in self._clues:
            name = known.get(clue.key) if clue.key is not None else None
            name = clue.name if name is None else safe_name(name)
            if name is not None:
                return clue.rule, Claim(name)
        may_go_on = self._lineage is not None or bool(self._clues) or self._evidence.path.upstream_path == _RESPONSES
        return "none", alone(self._evidence, may_go_on=may_go_on)

    def _eldest_named(self) -> str | None:
        """The topmost application that this call names, who may have a parent that only earlier calls told of. What a
        link leads to has none: links lead to roots."""
        if self._named is not None:
            return self._declared_family(self._named[1])[1]
        if self._declared_parent is not None:
            return self._declared_parent
        clue = self._clues[0] if self._clues else None
        return None if clue is None or clue.key is not None else clue.name

    def _declared_family(self, claim: Claim) -> tuple[str | None, str]:
        """(parent, root). A declared parent stands above what a rule found, and takes the whole charge.

        So a call that names nothing but its parent (rule 7) is charged to that parent: still an application of its own
        that ends with its call, but a child, whose end leaves the parent open. Nobody is their own parent.
        """
        declared = self._declared_parent
        if declared is not None and declared != claim.application:
            return declared, declared
        return claim.parent, claim.root or claim.application

    def _family(self, claim: Claim, known: Mapping[LinkKey, str]) -> tuple[str | None, str]:
        """(parent, root), with what earlier calls told of the root. Nobody is their own ancestor either."""
        parent, root = self._declared_family(claim)
        elder = known.get(self._family_key) if self._family_key is not None and root == self._eldest else None
        if elder is None:
            return parent, root
        elder = safe_name(elder)
        if elder == claim.application:
            return None, elder
        return (parent, root) if elder == root else (parent or elder, elder)


def _root_name(identity: Identity) -> str:
    if identity.root == identity.application_id:
        return identity.application  # the same string once more: the one that a link may hold already
    return identity.root.partition("/")[2]
