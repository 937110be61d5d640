"""Leaderboards: records of what unseen students learned, which anyone can replay, and pages made of them."""
