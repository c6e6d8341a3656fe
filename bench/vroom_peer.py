"""VROOM's answer to the joint assignment of units to waiting incidents, for the bench.

Reads {"drives_s": [[...]], "weights": [...]} with a row per incident and a column per unit, solves it with one incident
a unit at each of the asked exploration levels, and prints one line a level: level, milliseconds of the best of the
repeats, cost. Only solving is timed, not the making of the input.
"""

import json
import sys
import time

import numpy
import vroom

REPEATS = 3


def problem(drives_s, weights):
    incidents, units = len(drives_s), len(drives_s[0])
    size = units + incidents
    durations = numpy.zeros((size, size), dtype="uint32")
    costs = numpy.zeros((size, size), dtype="uint32")
    for incident, row in enumerate(drives_s):
        for unit, seconds in enumerate(row):
            durations[unit][units + incident] = seconds
            costs[unit][units + incident] = seconds * weights[incident]
    instance = vroom.Input()
    instance.set_durations_matrix("car", durations)
    instance.set_costs_matrix("car", costs)
    instance.add_vehicle([vroom.Vehicle(unit, start=unit, max_tasks=1) for unit in range(units)])
    instance.add_job([vroom.Job(incident, location=units + incident) for incident in range(incidents)])
    return instance


def main():
    asked = json.load(sys.stdin)
    drives_s, weights = asked["drives_s"], asked["weights"]
    for level in asked["levels"]:
        best_ms = float("inf")
        for _ in range(REPEATS):
            instance = problem(drives_s, weights)
            started = time.perf_counter()
            solution = instance.solve(exploration_level=level, nb_threads=2)
            best_ms = min(best_ms, (time.perf_counter() - started) * 1000)
        routes = solution.routes
        served = routes[routes.type == "job"]
        cost = 0
        for _, step in served.iterrows():
            incident, unit = int(step["id"]), int(step["vehicle_id"])
            cost += drives_s[incident][unit] * weights[incident]
        print(level, best_ms, cost, len(served))


main()
