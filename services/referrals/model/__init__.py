"""Referrals: who is proposed for a need and why, and how cases and referrals move.

Pure functions in four rooms: ``person`` (what is known), ``routing`` (who suits and why),
``referral`` (the state table), ``case`` (from the proposal to the end).
"""
