"""The decision: features from samples, actions to requests, the contract between the two, and laws.

numpy and the standard library only: the controller runs this code on real hosts.
"""
