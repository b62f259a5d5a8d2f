"""The audit report on one period: made from verified evidence, counted again from it, in four formats."""
