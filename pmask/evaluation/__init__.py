"""Evaluation: would an intruder still recognise protected photos, and would a person see the mask?"""
