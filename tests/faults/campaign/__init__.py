"""The campaign of faults: damaged files, kills, odd names and refusals of the system, counted.

`python -m tests.faults.campaign` runs it whole, `make test` a small part (test_campaign.py).
"""
