"""The collector's judgement: what is evidence, what follows from it, and how what follows is carried out.

It knows stores, and a database only as something that is asked and that keeps books; the SQL is in the host.
"""
