"""Drills once more, each process in a network namespace with an address of its own: cables lose packets in silence."""

from .test_bad_link_loses_work import test_api_process_cut_off, test_worker_cut_off
from .test_dead_process_loses_work import test_api_process_killed, test_worker_killed_in_mid_tick
from .test_redis_restart_loses_work import test_redis_killed_and_back_without_memory
from .test_work_done_twice_shows import test_frozen_worker_wakes_after_its_work_was_taken

__all__ = (
    "test_api_process_cut_off",
    "test_api_process_killed",
    "test_frozen_worker_wakes_after_its_work_was_taken",
    "test_redis_killed_and_back_without_memory",
    "test_worker_cut_off",
    "test_worker_killed_in_mid_tick",
)
