"""Reports made from the verified journal: evidence first, pages from it. Nothing is imported here, so that a part
without the page needs no template engine.
"""
