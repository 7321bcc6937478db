"""Who touches which page when, and how well it compresses: recordings, generators, scenarios.

Knows what programs do; knows no kernel rule and no learning. The way in is
`scenario.load_scenario`, or `replay.replay_plan` and `archetypes.archetype_plan` for one cgroup.
"""
