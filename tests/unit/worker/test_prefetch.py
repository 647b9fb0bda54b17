"""How many deliveries a worker holds: as many as its tasks are short."""

from __future__ import annotations

from fastq.worker.prefetch import LOOKAHEAD_S, MOST_PASSING, Prefetch


def test_a_worker_that_knows_nothing_yet_holds_two_for_each_child() -> None:
    assert Prefetch(children=3, most=1024).credit(0) == 6


def test_short_tasks_fill_the_whole_window() -> None:
    window = Prefetch(children=2, most=1024)
    window.observe(runs=1000, busy_s=0.001)
    assert (window.size, window.credit(0)) == (1024, 1024)


def test_a_long_task_is_believed_at_once_and_nothing_is_held_beside_what_runs() -> None:
    window = Prefetch(children=2, most=1024)
    window.observe(runs=1000, busy_s=0.001)
    window.observe(runs=1, busy_s=60.0)
    assert (window.size, window.credit(2), window.credit(1)) == (2, 0, 1)


def test_short_tasks_after_a_long_one_widen_it_step_by_step() -> None:
    window = Prefetch(children=2, most=1024)
    window.observe(runs=1, busy_s=1.0)
    sizes = []
    for _ in range(40):
        window.observe(runs=1000, busy_s=0.001)
        sizes.append(window.size)
    assert sizes[0] == 2
    assert sizes == sorted(sizes)
    assert sizes[-1] == 1024


def test_tasks_of_some_milliseconds_hold_what_a_few_turns_need() -> None:
    window = Prefetch(children=2, most=1024)
    window.observe(runs=10, busy_s=10 * LOOKAHEAD_S / 4)
    assert window.size == 2 * (1 + 4)


def test_nothing_is_asked_for_until_half_is_used_up_or_a_child_is_idle() -> None:
    window = Prefetch(children=2, most=100)
    window.observe(runs=1000, busy_s=0.001)
    assert [window.credit(in_hand) for in_hand in (100, 51, 50, 1, 0)] == [0, 0, 50, 99, 100]


def test_a_narrowed_window_holds_only_what_runs() -> None:
    window = Prefetch(children=2, most=100)
    window.observe(runs=1000, busy_s=0.001)
    window.narrow()
    assert (window.size, window.credit(2), window.credit(1)) == (2, 0, 1)


def test_a_multiplier_that_the_user_set_wins() -> None:
    window = Prefetch(children=2, most=100, multiplier=3)
    for _ in range(3):
        window.observe(runs=1, busy_s=60.0)
        window.narrow()
    assert window.size == 6
    assert Prefetch(children=2, most=100, multiplier=0).size == 100     # Celery's word for no limit


def test_with_a_multiplier_of_one_exactly_the_free_children_are_asked_for() -> None:
    window = Prefetch(children=3, most=100, multiplier=1)
    for runs, busy_s in ((0, 0.0), (1000, 0.001), (1, 60.0)):
        window.observe(runs, busy_s)
        assert [window.credit(in_hand) for in_hand in range(5)] == [3, 2, 1, 0, 0]


def test_a_lower_limit_holds_at_once_and_for_good() -> None:
    window = Prefetch(children=2, most=1024)
    for _ in range(2):
        window.observe(runs=1000, busy_s=0.001)
        window.limit(64)
        assert window.size == 64
        window.limit(128)


def test_no_runs_say_nothing() -> None:
    window = Prefetch(children=2, most=100)
    window.observe(runs=0, busy_s=0.0)
    assert window.size == 4


def test_there_is_a_place_for_every_child() -> None:
    assert Prefetch(children=2000, most=1024).credit(0) == 2000


def test_tasks_are_quick_when_they_end_before_a_sleeper_would_wake() -> None:
    window = Prefetch(children=1, most=8)
    assert not window.is_quick
    window.observe(runs=10, busy_s=10 * 0.00001)
    assert window.is_quick
    window.observe(runs=1, busy_s=0.01)
    assert not window.is_quick


def test_many_are_asked_for_while_all_that_comes_is_for_later() -> None:
    window = Prefetch(children=1, most=1024)
    asked = []
    for _ in range(12):
        asked.append(window.credit(0))
        assert not window.widen(asked[-1], 0, 0)
    assert asked == sorted(asked)
    assert (asked[0], asked[-1]) == (2, 2 + MOST_PASSING)
    window.observe(runs=1, busy_s=60.0)
    assert window.credit(1) == 0    # a child that is busy for long is given nothing all the same


def test_what_came_in_a_window_made_for_later_stays_unless_the_user_chose_the_window() -> None:
    for multiplier, has_to_go in ((None, False), (4, True)):
        window = Prefetch(children=1, most=1024, multiplier=multiplier)
        window.widen(4, 0, 0)
        assert window.widen(3, 0, 9) is has_to_go
        assert window.credit(0) == window.size
        assert not window.widen(0, 0, 4)


def test_a_few_that_fit_the_users_window_stay() -> None:
    window = Prefetch(children=1, most=1024, multiplier=4)
    window.widen(4, 0, 0)
    assert not window.widen(3, 2, 4)
