"""Routers choose from what is known when a request arrives."""

from papisim.policies.routing.base import ROUTING, ReplicaView, RoutingView


def router(kind, **options):
    chosen = ROUTING.load(kind)
    return chosen.thing(chosen.options(kind=kind, **options))


def idle(count):
    return [ReplicaView(0, 0, 1000, 0)] * count


def test_round_robin_gives_each_the_same_number():
    chosen = [router("round_robin").choose(RoutingView(number, 1, idle(3))) for number in range(9)]
    assert chosen == [0, 1, 2] * 3


def test_least_loaded_counts_those_who_wait_and_those_who_are_in():
    busy, queued, free = ReplicaView(0, 3, 1000, 0), ReplicaView(4, 0, 1000, 10), ReplicaView(1, 1, 1000, 10)
    assert router("least_loaded").choose(RoutingView(0, 1, [busy, queued, free])) == 2


def test_kv_aware_prefers_many_short_requests_to_one_that_fills_the_memory():
    one_long, many_short = ReplicaView(0, 1, 500, 0), ReplicaView(0, 20, 8000, 0)
    view = RoutingView(0, 1, [one_long, many_short])
    assert router("kv_aware").choose(view) == 1
    assert router("least_loaded").choose(view) == 0


def test_kv_aware_takes_those_who_wait_as_already_in():
    assert router("kv_aware").choose(RoutingView(0, 1, [ReplicaView(2, 0, 900, 800), ReplicaView(0, 2, 200, 0)])) == 1


def test_prefix_aware_goes_where_most_is_cached_unless_the_load_is_too_uneven():
    replicas = [ReplicaView(0, 3, 1000, 0, 32), ReplicaView(9, 0, 1000, 0, 64), ReplicaView(0, 2, 1000, 0, 32)]
    assert router("prefix_aware").choose(RoutingView(0, 100, replicas)) == 1
    assert router("prefix_aware", slack_requests=6).choose(RoutingView(0, 100, replicas)) == 2, "fewest of equals"
    assert router("prefix_aware", slack_requests=7).choose(RoutingView(0, 100, replicas)) == 1
    assert router("prefix_aware").choose(RoutingView(0, 100, [ReplicaView(0, 0, 1000, 0)] * 3)) == 0
