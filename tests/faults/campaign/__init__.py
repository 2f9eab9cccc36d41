"""The campaign of faults: damaged files, kills, odd names and refusals of the system, counted.

`python -m tests.faults.campaign` runs it whole; `make test` runs a small part (tests/faults/test_campaign.py).
"""
