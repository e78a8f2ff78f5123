"""The pytest plugin whose fixtures give a service's own tests throw-away databases."""
