"""Recovery: a pressed model is taught by its parent until it says again what it was asked to keep."""
