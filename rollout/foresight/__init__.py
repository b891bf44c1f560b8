"""What a region carries, and what a bake there can see of it: in numbers (outlook) and in words (sight)."""
