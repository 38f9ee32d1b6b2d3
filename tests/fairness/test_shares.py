"""Both kinds of shares behind one type: what stores and simulations ask of them."""

import random

import pytest

from gateway.fairness import SHARES_NAMES, UNIT_WEIGHT, ApplicationId, KvTokenTime, Shares, SharesName, shares_named

NAMES = [ApplicationId(letter) for letter in "abcdef"]


@pytest.fixture(params=SHARES_NAMES)
def shares(request: pytest.FixtureRequest) -> Shares:
    """Six applications that cost 10, 20, … 60, of tenants x and y by turns; V is 10 or a little more."""
    name: SharesName = request.param
    shares = shares_named(name)
    for number, application_id in enumerate(NAMES):
        cost = KvTokenTime(10.0 * (number + 1))
        shares.arrive(application_id, cost, UNIT_WEIGHT, tenant="xy"[number % 2], tenant_weight=UNIT_WEIGHT)
    shares.serve(KvTokenTime(70.0))
    return shares


def test_the_first_of_all_by_finish_time_and_id(shares: Shares) -> None:
    everybody = shares.first(99)
    assert everybody == sorted((finish, name) for name, finish in shares.finish_times(NAMES).items())
    for limit in range(7):
        assert shares.first(limit) == everybody[:limit]


def test_the_first_that_gps_has_not_served(shares: Shares) -> None:
    ahead = [name for finish, name in shares.first(99) if finish > shares.virtual_time]
    assert 2 < len(ahead) < 6
    for limit in range(7):
        assert shares.backlogged(limit) == ahead[:limit]


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("name", SHARES_NAMES)
def test_however_few_are_wanted_they_are_the_first(name: SharesName, seed: int) -> None:
    """Costs of three sizes tie often; estimates go up and down, so what once was a finish time lies about."""
    chance, shares, cost_of = random.Random(seed), shares_named(name), dict[ApplicationId, KvTokenTime]()
    for _ in range(150):
        one, cost = ApplicationId(chance.choice("abcdefghijklmnop")), KvTokenTime(chance.choice([10.0, 20.0, 30.0]))
        match chance.randrange(6):
            case 0 if one in cost_of:
                shares.close(one, cost)
                del cost_of[one]
            case 1 | 2 if one in cost_of:
                shares.update(one, cost, KvTokenTime(0.0))
            case 3:
                shares.serve(cost)
            case _:
                shares.arrive(one, cost, UNIT_WEIGHT, tenant="xyz"[ord(one) % 3], tenant_weight=UNIT_WEIGHT)
                cost_of[one] = cost
        in_order = sorted((finish, one) for one, finish in shares.finish_times(cost_of).items())
        limit = chance.randrange(1 + len(cost_of))
        assert shares.first(limit) == in_order[:limit]
        ahead = [one for one in shares.backlogged(99) if one in cost_of]
        assert ahead == [one for finish, one in in_order if finish > shares.virtual_time]
        for few in range(4):
            assert shares.backlogged(few) == shares.backlogged(99)[:few]


def test_what_each_is_due_is_what_was_served(shares: Shares) -> None:
    dues = shares.dues([*NAMES, ApplicationId("nobody")])
    assert dues.keys() == set(NAMES)
    assert sum(dues.values()) == pytest.approx(70.0)


def test_all_arrived_at_once(shares: Shares) -> None:
    assert {shares.start_time(name) for name in NAMES} == {0.0}
    assert shares.finish_times([ApplicationId("nobody")]) == {}


def test_closed_applications_are_not_listed(shares: Shares) -> None:
    shares.close(NAMES[5], KvTokenTime(60.0))
    assert NAMES[5] not in [name for _, name in shares.first(99)]


def test_ties_within_a_tenant_are_listed_by_id_however_few_are_wanted() -> None:
    """Where nothing is left of an application it ends with the one before it in its tenant's order."""
    shares = shares_named("tenant")
    for name, cost in (("b", 10.0), ("c", 20.0), ("a", 30.0)):
        application_id = ApplicationId(name)
        shares.arrive(application_id, KvTokenTime(cost), UNIT_WEIGHT, tenant="x", tenant_weight=UNIT_WEIGHT)
    for name, cost in (("c", 20.0), ("a", 30.0)):
        shares.update(ApplicationId(name), KvTokenTime(cost), KvTokenTime(cost))
    assert shares.first(1) == [(60.0, "a")]
    assert [name for _, name in shares.first(2)] == ["a", "b"]
