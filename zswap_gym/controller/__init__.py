"""The daemon: observes cgroups, decides, keeps decisions within rails, and acts only when told to.

Standard library and numpy only. `loop.Controller` is the way in, `config.ControllerConfig` what
it is told.
"""
